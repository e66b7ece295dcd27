/** Where studies stand by modality, by year, or by the day of their last update. */

import { choices, empty, h, row, table } from "./dom.js";
import { dicomDay, number, share } from "./format.js";
import { ALL, exceptionsAt } from "./places.js";

/** @typedef {"modalities" | "years" | "days"} Cut */

const CUTS = {
  modalities: { field: "modality", title: "Modality", filter: "modality" },
  years: { field: "year", title: "Study year", filter: "year" },
  days: { field: "day", title: "Last update", filter: null },
};
const ALWAYS = new Set(["in_sync", "missing", "incomplete", "different"]);
const SHOWN_DAYS = 31;

export class Breakdown {
  constructor() {
    /** @type {Cut} */
    this.cut = "modalities";
  }

  /** @param {any} cutover @param {() => void} again draws it again */
  panel(cutover, again) {
    const options = Object.entries(CUTS).map(([cut, { title }]) => /** @type {[string, string]} */ ([cut, title]));
    const choose = (cut) => {
      this.cut = /** @type {Cut} */ (cut);
      again();
    };
    return h(
      "section",
      { class: "panel", "aria-labelledby": "breakdown-title" },
      h(
        "div",
        { class: "panel-head" },
        h("h2", { id: "breakdown-title" }, "Breakdown"),
        choices("By", options, this.cut, choose),
      ),
      this.#table(cutover),
    );
  }

  /** @param {any} cutover */
  #table(cutover) {
    const { field, title } = CUTS[this.cut];
    const found = this.#rows(cutover[this.cut]);
    if (!found.length) return empty("No studies yet.", "They appear here with the first events of either repository.");
    const places = ALL.filter(({ name }) => ALWAYS.has(name) || found.some((one) => one.places[name]));
    const columns = [
      { name: title },
      ...places.map((place) => ({ name: place.title, number: true })),
      { name: "Open", number: true },
      { name: "Settled", number: true },
      { name: "Progress", hidden: true },
    ];
    const rows = found.map((one) =>
      row(one[field], columns, [
        this.#value(one[field]),
        ...places.map((place) => dim(one.places[place.name] ?? 0)),
        ...this.#end(one),
      ]),
    );
    return table(`Studies by ${title.toLowerCase()}`, columns, rows, { class: "breakdown" });
  }

  /** The newest first, where there is an order in time. @param {any[]} rows */
  #rows(rows) {
    if (this.cut === "modalities") return [...rows].sort((one, other) => total(other) - total(one));
    const newest = [...rows].reverse();
    return this.cut === "days" ? newest.slice(0, SHOWN_DAYS) : newest;
  }

  /** @param {string} value */
  #value(value) {
    if (this.cut === "days") return dicomDay(value);
    if (value === "none") return "no Study Date";
    return value || "none";
  }

  /** @param {any} one */
  #end(one) {
    const { field, filter } = CUTS[this.cut];
    const open =
      filter && one.open ? h("a", { href: exceptionsAt({ [filter]: one[field] }) }, number(one.open)) : dim(one.open);
    const settled = total(one) - one.open;
    return [
      open,
      share(settled, total(one)),
      h("progress", { value: settled, max: total(one) || 1, "aria-hidden": "true" }),
    ];
  }
}

/** Studies that are in scope and compared. @param {any} one */
function total(one) {
  return one.open + (one.places.in_sync ?? 0) + (one.places.removed_on_both ?? 0);
}

/** @param {number} count */
function dim(count) {
  return count ? number(count) : h("span", { class: "zero" }, "0");
}
