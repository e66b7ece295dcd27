/** How the migration stands: the gate, what is open, when it ends, how fast it goes. */

import { ApiError, download } from "./api.js";
import { Breakdown } from "./breakdown.js";
import { Chart, KINDS } from "./chart.js";
import { choices, empty, h, row, show, table } from "./dom.js";
import { forecastWords } from "./forecast.js";
import { counted, duration, moment, number, rate, share, signed, time } from "./format.js";
import { gatePanel } from "./gate.js";
import { History, RANGES } from "./history.js";
import { ALL, OPEN, exceptionsAt } from "./places.js";

const TABLE_ROWS = 24;

/** @returns {import("./main.js").View} */
export function overviewView() {
  return new Overview();
}

class Overview {
  constructor() {
    this.top = h("div", null, h("p", { class: "loading" }, "Loading the figures\u2026"));
    this.below = h("div");
    this.chartHead = h("div", { class: "panel-head" });
    this.chartText = h("div");
    this.chart = new Chart();
    this.middle = h(
      "section",
      { class: "panel", "aria-labelledby": "chart-title", hidden: true },
      this.chartHead,
      this.chart.element,
      this.chartText,
    );
    this.element = h("div", { class: "view" }, this.top, this.middle, this.below);
    this.kind = "flow";
    this.history = new History("day");
    this.breakdown = new Breakdown();
    this.said = "";
    this.busy = false;
  }

  /** @param {import("./main.js").Shared} shared */
  async refresh(shared) {
    this.shared = shared;
    if (!shared.cutover) {
      this.middle.hidden = true;
      show(this.below);
      show(this.top, h("h1", null, "Overview"), nothingConfigured());
      return;
    }
    this.#draw();
    await this.#loadChart();
  }

  leave() {
    this.chart.leave();
  }

  #draw() {
    const { cutover } = this.shared;
    this.middle.hidden = false;
    show(
      this.top,
      h(
        "div",
        { class: "view-head" },
        h("h1", null, cutover.source, h("span", { class: "arrow", "aria-label": "to" }, " \u2192 "), cutover.target),
        h("p", { class: "hint" }, "Figures of ", time(cutover.time, { seconds: true })),
      ),
      !cutover.recompared && anew(cutover),
      h(
        "div",
        { class: "columns gate-row" },
        gatePanel(cutover.gate, this.#reports()),
        h("div", { class: "column" }, headlines(cutover), placesPanel(cutover)),
      ),
    );
    show(
      this.below,
      this.breakdown.panel(cutover, () => this.#draw()),
    );
  }

  #reports() {
    const button = (text, format, ending) =>
      h("button", { type: "button", disabled: this.busy, onclick: () => this.#download(format, ending) }, text);
    return [
      h("span", { class: "label" }, "Sign-off report"),
      button("Download HTML", "html", "html"),
      button("Download JSON", "json", "json"),
      h("span", { class: "fault", role: "alert" }, this.said),
    ];
  }

  /** @param {string} format @param {string} ending */
  async #download(format, ending) {
    const { cutover } = this.shared;
    const stamp = new Date().toISOString().slice(0, 16).replace(/[-:]/g, "");
    this.busy = true;
    this.said = "";
    this.#draw();
    try {
      const parameters = format === "json" ? { format } : {};
      await download("cutover/report", `cutover-${cutover.source}-${cutover.target}-${stamp}Z.${ending}`, parameters);
      this.shared.say("The report was downloaded.");
    } catch (error) {
      this.said = `No report: ${error.message}.`;
    }
    this.busy = false;
    this.#draw();
  }

  async #loadChart() {
    this.#chartChoices();
    const { history } = this;
    const now = Date.parse(this.shared.cutover.time) / 1000;
    try {
      await history.load(now);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
    if (history !== this.history) return;
    this.#drawChart(now);
  }

  /** @param {number} now */
  #drawChart(now) {
    const rows = this.history.all();
    const { seconds } = RANGES[this.history.range];
    this.chart.element.hidden = !rows.length;
    if (rows.length) this.chart.draw(this.kind, rows, [now - seconds, now]);
    show(
      this.chartText,
      rows.length
        ? [summary(rows, this.history.range), asTable(rows, this.kind)]
        : empty(
            "No history for this range yet.",
            "A row is kept every minute while Stocktake runs; look again in a few minutes.",
          ),
    );
  }

  #chartChoices() {
    const kinds = Object.entries(KINDS).map(([name, kind]) => /** @type {[string, string]} */ ([name, kind.title]));
    const ranges = Object.entries(RANGES).map(([name, range]) => /** @type {[string, string]} */ ([name, range.title]));
    show(
      this.chartHead,
      h("h2", { id: "chart-title" }, "Over time"),
      choices("What is shown", kinds, this.kind, (kind) => {
        this.kind = kind;
        this.#chartChoices();
        this.#drawChart(Date.parse(this.shared.cutover.time) / 1000);
      }),
      choices("Range", ranges, this.history.range, (range) => {
        this.history = new History(/** @type {import("./history.js").Range} */ (range));
        this.#chartChoices();
        this.shared.refresh();
      }),
    );
  }
}

function nothingConfigured() {
  return empty(
    "No cutover is configured.",
    [
      "To compare two repositories as they change, set ",
      h("code", null, "cutover.source"),
      " and ",
      h("code", null, "cutover.target"),
      " to their names and start Stocktake again.",
    ],
    [
      "What is followed already: ",
      h("a", { href: "#/repositories" }, "repositories"),
      " and ",
      h("a", { href: "#/chain" }, "the chain of inventories"),
      ".",
    ],
  );
}

/** @param {any} cutover */
function anew(cutover) {
  const left = cutover.places.compared_anew ?? 0;
  const told = left
    ? `${counted(left, "study is", "studies are")} still to be compared by them.`
    : "Not every study is known to be compared by them.";
  return h(
    "p",
    { class: "notice" },
    h("b", null, "The rules are new. "),
    told,
    " Until then the figures are not whole: run ",
    h("code", null, "stocktake cutover --compare"),
    ".",
  );
}

/** @param {any} cutover */
function headlines(cutover) {
  const { rates, lag } = cutover;
  const [outlook, sentence] = forecastWords(cutover);
  return h(
    "section",
    { class: "panel headlines", "aria-labelledby": "now-title" },
    h("h2", { id: "now-title", class: "unseen" }, "Now"),
    h(
      "dl",
      { class: "large" },
      figure(
        "Open studies",
        number(cutover.open),
        cutover.oldest ? ["the oldest since ", time(cutover.oldest)] : "none is waiting",
      ),
      figure(
        "Exceptions",
        cutover.exceptions ? h("a", { href: "#/exceptions" }, number(cutover.exceptions)) : "0",
        cutover.exceptions ? `${number(cutover.unacknowledged)} not acknowledged` : "open for too long: none",
      ),
      figure("Forecast", outlook, sentence, `wide ${cutover.forecast.outlook}`),
    ),
    h(
      "div",
      { class: "small-lists" },
      h(
        "div",
        null,
        h("h3", null, "Studies an hour"),
        h(
          "dl",
          { class: "small" },
          pair("arrived", rate(rates.arrived_per_hour)),
          pair("settled", rate(rates.settled_per_hour)),
          pair("net", signed(rates.net_per_hour)),
        ),
        h(
          "p",
          { class: "hint" },
          rates.window_seconds ? `over the last ${duration(rates.window_seconds)}` : "nothing to look back on yet",
        ),
      ),
      h(
        "div",
        null,
        h("h3", null, "Update lag"),
        h(
          "dl",
          { class: "small" },
          pair("p50", duration(lag.p50_seconds)),
          pair("p95", duration(lag.p95_seconds)),
          pair("p99", duration(lag.p99_seconds)),
          pair("oldest open", duration(cutover.oldest_seconds)),
        ),
        h(
          "p",
          { class: "hint" },
          lag.settled ? `of ${counted(lag.settled, "study", "studies")} settled lately` : "none was settled lately",
        ),
      ),
    ),
  );
}

/** @param {string} name @param {any} value @param {any} more @param {string | null} [kind] */
function figure(name, value, more, kind = null) {
  return h(
    "div",
    { class: kind },
    h("dt", null, name),
    h("dd", { class: "value" }, value),
    h("dd", { class: "hint" }, more),
  );
}

/** @param {string} name @param {any} value */
function pair(name, value) {
  return h("div", null, h("dt", null, name), h("dd", null, value));
}

const PLACE_COLUMNS = [{ name: "State" }, { name: "Studies", number: true }, { name: "Share", number: true }];

/** @param {any} cutover */
function placesPanel(cutover) {
  const { places } = cutover;
  const all = Object.values(places).reduce((sum, count) => sum + count, 0);
  const open = new Set(OPEN.map(({ name }) => name));
  const rows = ALL.map(({ name, title, means }) => {
    const count = places[name] ?? 0;
    const shown =
      count && open.has(name) ? h("a", { href: exceptionsAt({ place: name }) }, number(count)) : number(count);
    return row(
      name,
      PLACE_COLUMNS,
      [[title, h("small", null, means)], shown, share(count, all)],
      count ? null : "none",
    );
  });
  const foot = h("tr", null, h("th", { scope: "row" }, "All"), h("td", { class: "number" }, number(all)), h("td"));
  return h(
    "section",
    { class: "panel", "aria-labelledby": "places-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "places-title" }, "All studies")),
    table("Where all studies stand", PLACE_COLUMNS, rows, { class: "places", foot }),
  );
}

/** @param {any[]} rows @param {import("./history.js").Range} range */
function summary(rows, range) {
  const known = rows.filter((one) => one.arrived !== undefined);
  const [first, last] = [known[0], known.at(-1)];
  const net = last.open - first.open;
  const change = net === 0 ? "as many as before" : `${number(Math.abs(net))} ${net > 0 ? "more" : "fewer"} than before`;
  return h(
    "p",
    { class: "hint" },
    `Last ${range}: ${number(last.arrived - first.arrived)} arrived, ${number(last.settled - first.settled)} settled; ${number(last.open)} open, ${change}.`,
  );
}

/** The same figures to read, about as many rows as fit. @param {any[]} rows @param {string} kind */
function asTable(rows, kind) {
  const { lines, text, title } = KINDS[kind];
  const known = rows.filter((one) => one.arrived !== undefined);
  const every = Math.ceil(known.length / TABLE_ROWS);
  const columns = [
    { name: "Time" },
    ...lines.map((line) => ({ name: line.title, number: true })),
    { name: "Open", number: true },
  ];
  const shown = known.filter((_, at) => (known.length - 1 - at) % every === 0).reverse();
  const cells = shown.map((one) =>
    row(String(one.at), columns, [
      moment(one.at * 1000),
      ...lines.map(({ field }) => text(one[field])),
      number(one.open),
    ]),
  );
  return h("details", null, h("summary", null, "The same as a table"), table(title, columns, cells));
}
