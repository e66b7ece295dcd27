/** The gate: whether everything is met that a cutover wants, and what is not. */

import { h, row, table } from "./dom.js";
import { counted, words } from "./format.js";

const COLUMNS = [{ name: "Condition" }, { name: "Now" }, { name: "Wanted" }];

/** A word with a sign that differs in form, not in colour alone. @param {boolean} met */
function verdict(met) {
  return h("span", { class: met ? "mark good" : "mark bad" }, met ? "Met" : "Not met");
}

/** @param {{met: boolean, conditions: {name: string, met: boolean, figure: string, wanted: string}[]}} gate
 *  @param {any} actions */
export function gatePanel(gate, actions) {
  const unmet = gate.conditions.filter((one) => !one.met).length;
  const rows = gate.conditions.map((one) =>
    row(
      one.name,
      COLUMNS,
      [[verdict(one.met), " ", words(one.name)], one.figure, one.wanted],
      one.met ? null : "unmet",
    ),
  );
  return h(
    "section",
    { class: gate.met ? "panel gate good" : "panel gate bad", "aria-labelledby": "gate-title" },
    h(
      "div",
      { class: "gate-head" },
      h("span", { class: "gate-sign", "aria-hidden": "true" }, gate.met ? "\u2713" : "\u2715"),
      h(
        "div",
        null,
        h("h2", { id: "gate-title" }, gate.met ? "Ready for cutover" : "Not ready for cutover"),
        h(
          "p",
          null,
          gate.met
            ? `All ${gate.conditions.length} conditions of the gate are met.`
            : `${unmet} of ${counted(gate.conditions.length, "condition", "conditions")} not met.`,
        ),
      ),
    ),
    table("Conditions of the gate", COLUMNS, rows, { class: "conditions", stacks: true }),
    h("div", { class: "actions" }, actions),
  );
}
