/** Noting that somebody has seen an exception, and taking that back. */

import { post } from "./api.js";
import { ask } from "./dialogs.js";
import { h } from "./dom.js";
import { titleOf } from "./places.js";

const NOTE_LENGTH = 500;

/** @typedef {(done: string) => Promise<void>} Changed is told when the change is made */

/** Ask for a note, and acknowledge. @param {any} item @param {Changed} changed */
export function acknowledge(item, changed) {
  const note = h("textarea", {
    id: "note",
    rows: "3",
    maxlength: String(NOTE_LENGTH),
    required: true,
    "aria-describedby": "note-hint",
  });
  ask({
    title: "Acknowledge this exception",
    content: [
      h("p", { class: "uid" }, item.study_instance_uid),
      h("p", null, h("b", null, titleOf(item.place)), `: ${item.reasons.join("; ")}`),
      h("label", { for: "note" }, "Note"),
      note,
      h(
        "p",
        { class: "hint", id: "note-hint" },
        "Why it is all right as it is. It stands in the sign-off report with your name; name no patient.",
      ),
    ],
    action: "Acknowledge",
    run: async () => {
      const text = note.value.trim();
      if (!text) throw new Error("Say why it is all right");
      await post("cutover/acknowledgements", { study_instance_uid: item.study_instance_uid, note: text });
      await changed("Acknowledged.");
    },
  });
  note.focus();
}

/** @param {any} item @param {Changed} changed */
export function withdraw(item, changed) {
  ask({
    title: "Withdraw the acknowledgement",
    content: [
      h("p", { class: "uid" }, item.study_instance_uid),
      h("p", null, "The study counts as an exception that nobody has looked at again."),
    ],
    action: "Withdraw",
    run: async () => {
      await post("cutover/acknowledgements/withdraw", { study_instance_uid: item.study_instance_uid });
      await changed("Withdrawn.");
    },
  });
}
