/** Verifying an inventory: the server does it in the background, and a dialog tells how far it is and what it found. */

import { get, post } from "./api.js";
import { closeButton, openDialog } from "./dialogs.js";
import { h, row, show, table } from "./dom.js";
import { counted, number } from "./format.js";

const PACE = 1_000; // milliseconds between two looks
const MOST_FINDINGS = 200;
const COLUMNS = [{ name: "Severity" }, { name: "Rule" }, { name: "Finding" }];

/** Begin it, and look until it has ended or nobody wants to know. @param {string} repository its path in the API
 *  @param {any} one the inventory */
export async function verify(repository, one) {
  const body = h("div", { "aria-live": "polite" }, h("p", { class: "loading" }, "Asking for it\u2026"));
  const dialog = openDialog(
    `Verify ${one.kind} ${one.sequence}`,
    body,
    h("div", { class: "actions end" }, closeButton("Close", "first")),
  );
  try {
    let job = await post(`${repository}/inventories/${encodeURIComponent(one.sop_instance_uid)}/verifications`);
    const path = `${repository}/verifications/${job.id}`;
    while (job.state === "running" && dialog.isConnected) {
      show(body, progress(job));
      await new Promise((resolve) => setTimeout(resolve, PACE));
      job = await get(path);
    }
    if (!dialog.isConnected) return;
    const found = await get(`${path}/findings`, { limit: String(MOST_FINDINGS) });
    show(body, outcome(job, found.items));
  } catch (error) {
    show(body, h("p", { class: "fault" }, `It was not verified: ${error.message}.`));
  }
}

/** @param {any} job */
function progress(job) {
  return [
    h("p", { class: "loading" }, "Reading it and all that it incorporates; this may take minutes\u2026"),
    h("p", { class: "hint" }, `${counted(job.records, "record", "records")} so far, ${sums(job) || "nothing wrong"}.`),
    h("p", { class: "hint" }, "It goes on when this is closed."),
  ];
}

/** What it found. @param {any} job @param {any[]} findings */
function outcome(job, findings) {
  if (job.state === "failed")
    return [
      h("p", null, h("span", { class: "mark bad" }, "Not verified"), " It came to no end; the log says why."),
      list(job, findings),
    ];
  const records = `${counted(job.records, "record", "records")} checked.`;
  if (!job.errors && !job.warnings)
    return h("p", null, h("span", { class: "mark good" }, "Sound"), ` Nothing was found to be wrong. ${records}`);
  return [
    h("p", null, h("span", { class: job.errors ? "mark bad" : "mark" }, sums(job)), ` ${records}`),
    list(job, findings),
  ];
}

/** "2 errors, 1 warning". @param {any} job */
function sums(job) {
  const { errors, warnings } = job;
  return [errors && counted(errors, "error", "errors"), warnings && counted(warnings, "warning", "warnings")]
    .filter(Boolean)
    .join(", ");
}

/** @param {any} job @param {any[]} findings */
function list(job, findings) {
  if (!findings.length) return null;
  const rows = findings.map((one, at) =>
    row(String(at), COLUMNS, [
      one.severity,
      one.rule,
      [
        one.text,
        (one.location || one.file) && h("small", { class: "uid" }, [one.file, one.location].filter(Boolean).join(" ")),
      ],
    ]),
  );
  const left = job.errors + job.warnings - findings.length;
  return [
    table("Findings", COLUMNS, rows, { stacks: true }),
    left > 0 && h("p", { class: "hint" }, `The first ${number(findings.length)} are shown.`),
  ];
}
