/** Studies that are open: found by filter or UID, page by page, and acknowledged.
 *
 * A Study Instance UID is posted and never becomes part of an address.
 */

import { acknowledge, withdraw } from "./acknowledging.js";
import { post } from "./api.js";
import { readerNote } from "./dialogs.js";
import { empty, h, row, show, table } from "./dom.js";
import { counted, duration, number, time } from "./format.js";
import { OPEN, titleOf } from "./places.js";

const PAGE = 50;
const MOST_TURNS = 5; // answers that one page is put together from
const SEARCH = "cutover/exceptions/search";
const NOT_OPEN = "This study is not open.";
const AGES = [
  ["0", "Any time"],
  ["900", "15 min"],
  ["3600", "1 hour"],
  ["86400", "1 day"],
  ["604800", "1 week"],
];
const COLUMNS = [
  { name: "State" },
  { name: "Study" },
  { name: "Reasons" },
  { name: "Source" },
  { name: "Target" },
  { name: "Open for" },
  { name: "Acknowledged" },
];
const FIELDS = ["acknowledged", "older_than", "modality", "year"];

/** @param {URLSearchParams} query @returns {import("./main.js").View} */
export function exceptionsView(query) {
  return new Exceptions(query);
}

class Exceptions {
  /** @param {URLSearchParams} query */
  constructor(query) {
    this.places = new Set(query.getAll("place").filter((name) => OPEN.some((place) => place.name === name)));
    this.filter = Object.fromEntries(FIELDS.map((name) => [name, query.get(name) ?? ""]));
    this.sought = ""; // a UID: kept here and nowhere else
    this.cursors = [""]; // of the pages up to this one
    this.next = null;
    this.asked = 0;
    this.head = h("div", null, h("h1", null, "Exceptions"));
    this.told = true; // whether what a search found was said
    this.said = h("p", { class: "fault", role: "alert" });
    this.clear = h("button", { type: "button", class: "quiet", hidden: true }, "Clear");
    this.form = this.#form();
    this.found = h("div", { tabindex: "-1", class: "found" }, h("p", { class: "loading" }, "Loading\u2026"));
    this.body = h(
      "div",
      null,
      h("section", { class: "panel filters", "aria-label": "Filter and search" }, this.#search(), this.form),
      this.found,
    );
    this.element = h("div", { class: "view" }, this.head, this.body);
  }

  /** @param {import("./main.js").Shared} shared */
  async refresh(shared) {
    this.shared = shared;
    const { cutover, me } = shared;
    this.body.hidden = !cutover;
    if (!cutover) {
      const advice = [
        h("code", null, "cutover.source"),
        " and ",
        h("code", null, "cutover.target"),
        " name the two repositories that are compared.",
      ];
      show(
        this.head,
        h("h1", null, "Exceptions"),
        empty("No cutover is configured, so there is nothing to compare.", advice),
      );
      return;
    }
    const text = cutover.exceptions
      ? `${counted(cutover.exceptions, "study is", "studies are")} open for too long, ${number(cutover.unacknowledged)} of them not acknowledged.`
      : "No study is open for too long.";
    show(
      this.head,
      h("div", { class: "view-head" }, h("h1", null, "Exceptions"), h("p", { class: "hint" }, text)),
      readerNote(me, "Acknowledging"),
    );
    this.#offer(cutover);
    await this.#load();
  }

  #search() {
    const field = h("input", {
      id: "uid",
      type: "search",
      class: "mono",
      maxlength: "64",
      autocomplete: "off",
      spellcheck: "false",
      inputmode: "decimal",
    });
    const submit = (event) => {
      event.preventDefault();
      const uid = field.value.trim();
      if (uid && !/^[0-9.]{1,64}$/.test(uid)) {
        show(this.said, "A UID has digits and dots only, 64 at most.");
        return;
      }
      show(this.said);
      this.#seek(uid);
    };
    field.oninput = () => {
      if (!field.value && this.sought) this.#seek("");
    };
    this.clear.onclick = () => {
      field.value = "";
      this.#seek("");
      field.focus();
    };
    return h(
      "form",
      { class: "search", method: "dialog", onsubmit: submit, role: "search" },
      h("label", { for: "uid" }, "Study Instance UID"),
      h("div", { class: "together" }, field, h("button", null, "Search"), this.clear),
      this.said,
    );
  }

  /** @param {string} uid */
  #seek(uid) {
    this.sought = uid;
    this.told = false;
    this.form.disabled = Boolean(uid);
    this.clear.hidden = !uid;
    this.#anew();
  }

  #form() {
    const boxes = OPEN.map(({ name, title, means }) => {
      const change = (event) => {
        if (event.target.checked) this.places.add(name);
        else this.places.delete(name);
        this.#filtered();
      };
      const box = h("input", { type: "checkbox", onchange: change });
      box.checked = this.places.has(name);
      return h("label", { class: "box", title: means }, box, title);
    });
    this.selects = Object.fromEntries(FIELDS.map((name) => [name, this.#select(name)]));
    const acknowledged = [
      ["", "All"],
      ["false", "Not acknowledged"],
      ["true", "Acknowledged"],
    ];
    this.#fill("acknowledged", acknowledged);
    const named = {
      acknowledged: "Acknowledged",
      older_than: "Open for at least",
      modality: "Modality",
      year: "Study year",
    };
    return h(
      "fieldset",
      { class: "filter" },
      h("legend", { class: "unseen" }, "Filter"),
      h("div", { class: "boxes", role: "group", "aria-label": "State" }, h("span", { class: "label" }, "State"), boxes),
      FIELDS.map((name) =>
        h("div", { class: "field" }, h("label", { for: `filter-${name}` }, named[name]), this.selects[name]),
      ),
      h("button", { type: "button", class: "quiet", onclick: () => this.#reset() }, "Reset"),
    );
  }

  /** @param {string} name */
  #select(name) {
    const change = (event) => {
      this.filter[name] = event.target.value;
      this.#filtered();
    };
    return h("select", { id: `filter-${name}`, onchange: change });
  }

  /** @param {string} name @param {string[][]} options */
  #fill(name, options) {
    const select = this.selects[name];
    const chosen = this.filter[name];
    const known = options.some(([value]) => value === chosen) ? options : [...options, [chosen, chosen]];
    show(
      select,
      known.map(([value, text]) => h("option", { value }, text)),
    );
    if (select.value !== chosen) select.value = chosen;
  }

  /** Offer the modalities and years that there are. @param {any} cutover */
  #offer(cutover) {
    const modalities = cutover.modalities.map(({ modality }) => [modality, modality]).filter(([value]) => value);
    const years = cutover.years.map(({ year }) => [year, year === "none" ? "no Study Date" : year]).reverse();
    this.#fill("older_than", [["", `Too long: ${duration(cutover.grace_seconds)}`], ...AGES]);
    this.#fill("modality", [["", "All"], ...modalities]);
    this.#fill("year", [["", "All"], ...years]);
  }

  #reset() {
    this.places.clear();
    for (const name of FIELDS) this.filter[name] = this.selects[name].value = "";
    for (const box of this.form.querySelectorAll("input")) box.checked = false;
    this.#filtered();
  }

  /** The filter stands in the address, so that it survives a reload. */
  #filtered() {
    const query = new URLSearchParams([...this.places].map((name) => ["place", name]));
    for (const name of FIELDS) if (this.filter[name]) query.set(name, this.filter[name]);
    history.replaceState(null, "", `#/exceptions${query.size ? `?${query}` : ""}`);
    this.#anew();
  }

  #anew() {
    this.cursors = [""];
    this.shared?.refresh();
  }

  async #load() {
    const asked = ++this.asked;
    const found = await (this.sought ? post(SEARCH, { study_instance_uid: this.sought }) : this.#page());
    if (asked !== this.asked) return;
    this.next = found.next;
    if (this.sought && !this.told) this.shared.say(found.items.some(isOpen) ? "The study is open." : NOT_OPEN);
    this.told = true;
    this.#draw(found.items);
  }

  /** A page of what the filter leaves. The server looks at so many studies at a time, of which few may fit. */
  async #page() {
    const { acknowledged, older_than, modality, year } = this.filter;
    const filter = {
      places: [...this.places],
      acknowledged: acknowledged ? acknowledged === "true" : null,
      older_than: older_than ? Number(older_than) : this.shared.cutover.grace_seconds,
      modality: modality || null,
      year: year || null,
    };
    const items = [];
    let cursor = this.cursors.at(-1) || null;
    for (let turn = 0; turn < MOST_TURNS; turn += 1) {
      const found = await post(SEARCH, { ...filter, limit: PAGE - items.length, cursor });
      items.push(...found.items);
      cursor = found.next;
      if (!cursor || items.length === PAGE) break;
    }
    return { items, next: cursor };
  }

  /** @param {any[]} items */
  #draw(items) {
    if (!items.length) {
      show(this.found, this.#none());
      return;
    }
    const rows = items.map((item) =>
      row(item.study_instance_uid, COLUMNS, this.#cells(item), item.acknowledged ? "seen" : null),
    );
    const caption = this.sought ? "The study that was searched for" : "Studies that are open";
    show(
      this.found,
      h(
        "section",
        { class: "panel" },
        table(caption, COLUMNS, rows, { stacks: true, class: "exceptions" }),
        this.#pages(items.length),
      ),
    );
  }

  #none() {
    if (this.sought) {
      return empty(
        NOT_OPEN,
        "Neither source nor target has told of it. Clear the search to see what is open.",
      );
    }
    if (this.next) return [empty("None of the studies looked at so far fits."), this.#pages(0)];
    if (this.cursors.length > 1) return [empty("Nothing is left on this page."), this.#pages(0)];
    if (this.places.size || FIELDS.some((name) => this.filter[name])) {
      return empty(
        "No study fits this filter.",
        h("button", { type: "button", onclick: () => this.#reset() }, "Reset the filter"),
      );
    }
    return empty(
      "No exceptions.",
      "A study comes here when source and target have not agreed on it for longer than cutover.grace.",
    );
  }

  /** @param {any} item */
  #cells(item) {
    const kind = [item.modality, item.year === "none" ? "no Study Date" : item.year].filter(Boolean).join(" \u00b7 ");
    return [
      titleOf(item.place),
      [h("span", { class: "uid" }, item.study_instance_uid), h("small", null, kind)],
      h(
        "ul",
        { class: "plain" },
        item.reasons.map((reason) => h("li", null, reason)),
      ),
      sideText(item.source),
      sideText(item.target),
      [
        h("span", { class: "age" }, duration(isOpen(item) ? item.seconds : null)),
        isOpen(item) && h("small", null, "since ", time(item.since)),
      ],
      this.#acknowledgement(item),
    ];
  }

  /** @param {any} item */
  #acknowledgement(item) {
    const { acknowledged } = item;
    if (!isOpen(item)) return h("span", { class: "zero" }, "not open");
    const may = this.shared.me.role === "operate";
    const changed = (done) => this.#changed(done);
    const button = acknowledged
      ? h("button", { type: "button", class: "small", onclick: () => withdraw(item, changed) }, "Withdraw")
      : h("button", { type: "button", class: "small", onclick: () => acknowledge(item, changed) }, "Acknowledge");
    const text = acknowledged
      ? h(
          "div",
          { class: "note" },
          acknowledged.note && h("span", null, acknowledged.note),
          h("small", null, acknowledged.name, ", ", time(acknowledged.time)),
        )
      : !may && "no";
    return h("div", { class: "acknowledgement" }, text, may && button);
  }

  #pages(count) {
    if (this.sought || (this.cursors.length === 1 && !this.next)) {
      return h("p", { class: "hint pages" }, counted(count, "study", "studies"));
    }
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
        "Previous",
      ),
      h("span", null, `Page ${number(this.cursors.length)}`),
      h("button", { type: "button", disabled: !this.next, onclick: turn(() => this.cursors.push(this.next)) }, "Next"),
    );
  }

  /** @param {string} done */
  async #changed(done) {
    this.shared.say(done);
    await this.#load();
    this.shared.refresh();
    // The button may be gone with its row: then the list is where to go on.
    setTimeout(() => {
      if (document.activeElement === document.body) this.found.focus();
    });
  }
}

/** Whether source and target do not agree on it. @param {any} item */
function isOpen(item) {
  return OPEN.some(({ name }) => name === item.place);
}

/** @param {{live: boolean, series: number, instances: number} | null} side */
function sideText(side) {
  if (!side) return h("span", { class: "zero" }, "not there");
  if (!side.live) return "removed";
  return [counted(side.instances, "instance", "instances"), h("small", null, counted(side.series, "series", "series"))];
}
