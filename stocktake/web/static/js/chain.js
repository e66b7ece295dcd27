/** The chain of inventories of a repository: what each holds, its file, whether it is sound. */

import { ApiError, download, everything, get, post } from "./api.js";
import { ask, closeButton, openDialog, readerNote } from "./dialogs.js";
import { empty, h, show } from "./dom.js";
import { bytes, clock, counted, number, time, words } from "./format.js";
import { verify } from "./verification.js";

const PAGE = 50;
const KINDS = ["baseline", "delta", "rollup"];
const STATUSES = ["COMPLETE", "PARTIAL"];
/** @type {Record<string, [string, string]>} */
const COUNTED = {
  studies: ["study", "studies"],
  series: ["series", "series"],
  instances: ["instance", "instances"],
  removed_studies: ["removed study", "removed studies"],
  incomplete_studies: ["incomplete study", "incomplete studies"],
  unknown_modalities: ["unknown modality", "unknown modalities"],
  too_long_values: ["value too long", "values too long"],
};

/** @param {URLSearchParams} query @returns {import("./main.js").View} */
export function chainView(query) {
  return new ChainView(query);
}

class ChainView {
  /** @param {URLSearchParams} query */
  constructor(query) {
    this.repository = query.get("repository") ?? "";
    this.kind = query.get("kind") ?? "";
    this.status = query.get("status") ?? "";
    this.cursors = [""];
    this.next = null;
    /** @type {any} */
    this.standing = null; // the repository, as it was last told
    /** @type {any[]} */
    this.items = [];
    this.asked = 0;
    /** @type {{at: number, number: number, writer: boolean} | null} */
    this.requested = null; // the delta that was asked for
    this.said = "";
    this.busy = new Set(); // inventories of which something is fetched
    this.head = h("div", null, h("h1", null, "Chain"));
    this.controls = this.#controls();
    this.list = h("div", null, h("p", { class: "loading" }, "Loading\u2026"));
    this.element = h("div", { class: "view" }, this.head, this.controls, this.list);
  }

  /** @param {import("./main.js").Shared} shared */
  async refresh(shared) {
    this.shared = shared;
    const names = (await everything("repositories")).map(({ name }) => name);
    if (!names.length) {
      show(
        this.list,
        empty("No repositories are followed.", "Name one in the settings, as [repositories.NAME] with its topics."),
      );
      return;
    }
    if (!names.includes(this.repository)) this.repository = names[0];
    options(
      this.selects.repository,
      names.map((name) => [name, name]),
      this.repository,
    );
    const path = this.#repository();
    const asked = ++this.asked;
    const parameters = { limit: String(PAGE), cursor: this.cursors.at(-1), kind: this.kind, status: this.status };
    const [standing, page] = await Promise.all([get(path), get(`${path}/inventories`, parameters), this.#look(path)]);
    if (asked !== this.asked) return; // something else is wanted by now
    Object.assign(this, { standing, items: page.items, next: page.next });
    this.#draw();
  }

  #repository() {
    return `repositories/${encodeURIComponent(this.repository)}`;
  }

  #controls() {
    const select = (name) => {
      const change = (event) => {
        this[name] = event.target.value;
        if (name === "repository") this.requested = null;
        this.#chosen();
      };
      return h("select", { id: `chain-${name}`, onchange: change });
    };
    this.selects = { repository: select("repository"), kind: select("kind"), status: select("status") };
    options(this.selects.kind, [["", "All"], ...KINDS.map((kind) => [kind, words(kind)])], this.kind);
    options(this.selects.status, [["", "All"], ...STATUSES.map((status) => [status, status])], this.status);
    const titles = { repository: "Repository", kind: "Kind", status: "Status" };
    return h(
      "section",
      { class: "panel filters filter", "aria-label": "What is shown" },
      Object.entries(this.selects).map(([name, one]) =>
        h("div", { class: "field" }, h("label", { for: `chain-${name}` }, titles[name]), one),
      ),
    );
  }

  #chosen() {
    const query = new URLSearchParams();
    for (const name of Object.keys(this.selects)) if (this[name]) query.set(name, this[name]);
    history.replaceState(null, "", `#/chain?${query}`);
    this.cursors = [""];
    this.shared?.refresh();
  }

  /** Whether the delta that was asked for has come. @param {string} path of the repository */
  async #look(path) {
    const { requested } = this;
    if (!requested) return;
    let found = null;
    try {
      found = await get(`${path}/deltas/${requested.number}`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
    if (requested !== this.requested) return;
    if (found?.state === "waiting") {
      requested.writer = found.writer;
      return;
    }
    this.requested = null;
    this.said = found
      ? `Inventory ${number(found.sequence)} is published.`
      : "The request for a delta was lost; ask again.";
    this.shared.say(this.said);
  }

  #draw() {
    const { head } = this.standing;
    const text = head
      ? [
          "Head: ",
          h("b", null, `${words(head.kind)} ${number(head.sequence)}`),
          " of ",
          time(head.watermark),
          `, ${counted(head.total_records, "record", "records")} in all. `,
        ]
      : "There is no head yet. ";
    const { requested } = this;
    const behind = `${counted(this.standing.backlog, "study has", "studies have")} changed since ${this.standing.backlog === 1 ? "it was" : "they were"} inventoried.`;
    show(
      this.head,
      h(
        "div",
        { class: "view-head" },
        h("h1", null, "Chain"),
        h("p", { class: "hint" }, text, behind),
        this.shared.me.role === "operate" &&
          h(
            "button",
            { type: "button", disabled: Boolean(requested), onclick: () => this.#produce() },
            "Produce a delta now",
          ),
      ),
      readerNote(this.shared.me, "Producing a delta and verifying"),
      requested &&
        h(
          "p",
          { class: "notice" },
          `A delta was asked for at ${clock(requested.at)}; waiting for the writer to publish it.`,
          !requested.writer && " No writer is at work now.",
        ),
      this.said && h("p", { class: "notice" }, this.said),
    );
    show(
      this.list,
      this.items.length
        ? [
            h(
              "ol",
              { class: "timeline" },
              this.items.map((one) => this.#entry(one)),
            ),
            this.#pages(),
          ]
        : this.#none(),
    );
  }

  #none() {
    if (this.next || this.cursors.length > 1) return [empty("No inventory on this page fits."), this.#pages()];
    if (this.kind || this.status) return empty("No inventory fits this filter.", "Choose All to see the whole chain.");
    return empty("No inventory has been published yet.", [
      "A writer publishes the first one, a baseline: is ",
      h("code", null, "stocktake write"),
      " running?",
    ]);
  }

  /** @param {any} one */
  #entry(one) {
    const isHead = one.sop_instance_uid === this.standing.head?.sop_instance_uid;
    const busy = this.busy.has(one.sop_instance_uid);
    const button = (text, run) =>
      h(
        "button",
        {
          type: "button",
          class: "small",
          disabled: busy,
          "aria-label": `${text} ${one.kind} ${one.sequence}`,
          onclick: run,
        },
        text,
      );
    return h(
      "li",
      { "data-key": one.sop_instance_uid, class: `entry ${one.kind}${one.reached ? "" : " replaced"}` },
      h(
        "div",
        { class: "entry-head" },
        h("h2", null, `${words(one.kind)} ${number(one.sequence)}`),
        one.tier !== null && one.tier > 0 && h("span", { class: "tag" }, `tier ${one.tier}`),
        isHead && h("span", { class: "tag strong" }, "head"),
        one.status === "COMPLETE"
          ? h("span", { class: "tag" }, one.status)
          : h("span", { class: "tag warn" }, one.status),
        !one.reached && h("span", { class: "tag", title: "The head does not incorporate it any more" }, "replaced"),
        h("span", { class: "when" }, time(one.watermark, { seconds: true })),
      ),
      h(
        "dl",
        { class: "facts" },
        fact("Slice", `cut ${number(one.slice_from)} \u2192 ${number(one.cut)}`),
        fact("Scope", [
          one.scope_begin ? time(one.scope_begin) : "open",
          " \u2013 ",
          one.scope_end ? time(one.scope_end) : "open",
        ]),
        fact("Own records", number(one.own_records)),
        fact("In all", number(one.total_records)),
        fact("Size", bytes(one.bytes)),
        fact("Holds", holds(one.counts)),
      ),
      h(
        "div",
        { class: "names" },
        h("p", { class: "uid" }, one.sop_instance_uid),
        h("p", { class: "digest" }, h("span", { class: "label" }, "SHA-256 "), h("span", { class: "uid" }, one.sha256)),
      ),
      h(
        "div",
        { class: "actions" },
        button("Download", () => this.#download(one)),
        this.shared.me.role === "operate" && button("Verify", () => verify(this.#repository(), one)),
        button("Manifest", () => this.#manifest(one)),
      ),
    );
  }

  #pages() {
    if (this.cursors.length === 1 && !this.next)
      return h("p", { class: "hint pages" }, counted(this.items.length, "inventory", "inventories"));
    const turn = (change) => () => {
      change();
      scrollTo({ top: 0 });
      this.shared.refresh();
    };
    return h(
      "nav",
      { class: "pages", "aria-label": "Pages" },
      h(
        "button",
        { type: "button", disabled: this.cursors.length === 1, onclick: turn(() => this.cursors.pop()) },
        "Newer",
      ),
      h("span", null, `Page ${number(this.cursors.length)}`),
      h("button", { type: "button", disabled: !this.next, onclick: turn(() => this.cursors.push(this.next)) }, "Older"),
    );
  }

  /** @param {any} one */
  #path(one) {
    return `${this.#repository()}/inventories/${encodeURIComponent(one.sop_instance_uid)}`;
  }

  /** @param {any} one */
  async #download(one) {
    this.busy.add(one.sop_instance_uid);
    this.said = "";
    this.#draw();
    try {
      await download(`${this.#path(one)}/file`, `${one.sop_instance_uid}.dcm`);
      this.shared.say(`${words(one.kind)} ${one.sequence} was downloaded.`);
    } catch (error) {
      this.said = `${words(one.kind)} ${one.sequence} was not downloaded: ${error.message}.`;
    }
    this.busy.delete(one.sop_instance_uid);
    this.#draw();
  }

  /** @param {any} one */
  async #manifest(one) {
    const body = h("div", { "aria-live": "polite" }, h("p", { class: "loading" }, "Loading\u2026"));
    openDialog(
      `Manifest of ${one.kind} ${one.sequence}`,
      body,
      h("div", { class: "actions end" }, closeButton("Close", "first")),
    );
    try {
      const text = JSON.stringify(await get(this.#path(one)), null, 2);
      show(body, h("pre", { tabindex: "0", role: "region", "aria-label": "Manifest" }, text));
    } catch (error) {
      show(body, h("p", { class: "fault" }, `${error.message}.`));
    }
  }

  #produce() {
    const { repository } = this;
    ask({
      title: "Produce a delta now",
      content: [
        h(
          "p",
          null,
          "The writer of ",
          h("b", null, repository),
          " publishes the chain's next delta at once, not only when its interval has passed.",
        ),
      ],
      action: "Produce",
      run: async () => {
        const asked = await post(`${this.#repository()}/deltas`);
        this.requested = { at: Date.now(), ...asked };
        this.said = "";
        this.shared.say("The delta was asked for.");
        this.#draw();
      },
    });
  }
}

/** @param {HTMLSelectElement} select @param {string[][]} offered @param {string} chosen */
function options(select, offered, chosen) {
  show(
    select,
    offered.map(([value, text]) => h("option", { value }, text)),
  );
  if (select.value !== chosen) select.value = chosen;
}

/** @param {string} name @param {any} value */
function fact(name, value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

/** @param {Record<string, number>} counts */
function holds(counts) {
  const texts = Object.entries(counts ?? {})
    .filter(([, count]) => count)
    .map(([name, count]) => counted(count, ...(COUNTED[name] ?? [words(name), words(name)])));
  return texts.join(", ") || "nothing";
}
