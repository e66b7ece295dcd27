/** Charts over time: what arrived and was settled, what is open, and how long it took. */

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { h, show } from "./dom.js";
import { dayAndMonth, duration, hourAndMinute, moment, number, zone } from "./format.js";
import { patternOf } from "./pattern.js";
import { OPEN } from "./places.js";

/** @typedef {{field: string, title: string, colour: string, dash?: number[], swatch: string}} Line */
/** @typedef {{title: string, lines: Line[], stacked?: boolean, between?: boolean, text: (value: any) => string,
 *   incrs: number[]}} Kind */

const COUNTS = [1, 2, 5]
  .flatMap((one) => [...Array(10).keys()].map((power) => one * 10 ** power))
  .sort((a, b) => a - b);
const SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800,
];
const HEIGHT = 380;
const NARROW_HEIGHT = 240;

/** @type {Record<string, Kind>} */
export const KINDS = {
  flow: {
    title: "Cumulative flow",
    between: true,
    text: number,
    incrs: COUNTS,
    lines: [
      { field: "arrived", title: "Arrived", colour: "--line-1", swatch: "solid" },
      { field: "settled", title: "Settled", colour: "--line-2", dash: [7, 4], swatch: "dashed" },
    ],
  },
  open: {
    title: "Open by state",
    stacked: true,
    text: number,
    incrs: COUNTS,
    lines: OPEN.map(({ name, title }, at) => ({
      field: name,
      title,
      colour: `--area-${at + 1}`,
      swatch: `area-${at + 1}`,
    })),
  },
  lag: {
    title: "Update lag",
    text: duration,
    incrs: SECONDS,
    lines: [
      { field: "lag_p50", title: "p50", colour: "--line-1", swatch: "solid" },
      { field: "lag_p95", title: "p95", colour: "--line-2", dash: [7, 4], swatch: "dashed" },
      { field: "lag_p99", title: "p99", colour: "--line-3", dash: [2, 3], swatch: "dotted" },
    ],
  },
};

export class Chart {
  constructor() {
    this.legend = h("div", { class: "legend" });
    this.host = h("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": "Chart: a moment in time" });
    this.host.onkeydown = (event) => this.#key(event);
    this.host.onblur = () => this.#point(null);
    this.element = h("div", { class: "chart" }, this.legend, this.host);
    this.plot = null;
    this.made = "";
    this.rows = [];
    this.at = null;
    this.kind = KINDS.flow;
    this.span = [0, 1];
    this.watch = new ResizeObserver(() => this.#fit());
    this.watch.observe(this.host);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.recolour = () => this.#make();
    this.dark.addEventListener("change", this.recolour);
  }

  /** @param {string} kind @param {any[]} rows with `at` in seconds @param {[number, number]} span seconds */
  draw(kind, rows, span) {
    this.kind = KINDS[kind];
    this.rows = rows;
    this.span = span;
    if (this.plot && this.made === kind) this.plot.setData(this.#data());
    else this.#make();
    this.made = kind;
    this.#tell();
  }

  leave() {
    this.watch.disconnect();
    this.dark.removeEventListener("change", this.recolour);
    this.plot?.destroy();
    this.plot = null;
  }

  #make() {
    if (!this.host.clientWidth) return;
    this.plot?.destroy();
    this.plot = new /** @type {any} */ (uPlot)(this.#options(), this.#data(), this.host);
  }

  #fit() {
    if (!this.rows.length || !this.host.clientWidth) return;
    if (!this.plot) this.#make();
    else if (this.plot.width !== this.host.clientWidth) this.plot.setSize(this.#size());
  }

  #size() {
    const width = this.host.clientWidth;
    return { width, height: width < 560 ? NARROW_HEIGHT : HEIGHT };
  }

  /** Columns for uPlot. Of stacked ones each holds the sum of itself and of those after it. */
  #data() {
    const columns = this.kind.lines.map(({ field }) => this.rows.map((row) => row[field] ?? null));
    if (this.kind.stacked) {
      for (let at = columns.length - 2; at >= 0; at -= 1) {
        columns[at] = columns[at].map((value, row) => (value === null ? null : value + (columns[at + 1][row] ?? 0)));
      }
    }
    return [this.rows.map((row) => row.at), ...columns];
  }

  #options() {
    const colour = (name) => getComputedStyle(this.host).getPropertyValue(name).trim();
    const { kind } = this;
    const axis = { stroke: colour("--ink-2"), font: "12px system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: colour("--line"), width: 1 };
    return {
      ...this.#size(),
      legend: { show: false },
      tzDate: (seconds) =>
        zone() === "UTC" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000),
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      hooks: { setCursor: [(plot) => this.#moved(plot.cursor.idx)] },
      scales: { x: { range: () => this.span }, y: { range: (_, low, high) => yRange(kind, low, high) } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          ticks: { ...grid, size: 4 },
          values: (_, splits, __, ___, step) => timeLabels(splits, step),
          space: 70,
          size: 44,
        },
        {
          ...axis,
          grid,
          values: (_, splits) => splits.map(kind.text),
          incrs: kind.incrs,
          size: (_, values) => room(values),
          space: 32,
        },
      ],
      series: [{}, ...kind.lines.map((line) => this.#series(line, colour))],
      bands: this.#bands(colour),
    };
  }

  /** @param {Line} line @param {(name: string) => string} colour */
  #series(line, colour) {
    const stroke = colour(line.colour);
    const last = this.kind.stacked && line === this.kind.lines.at(-1);
    return {
      label: line.title,
      stroke,
      width: this.kind.stacked ? 1 : 2,
      dash: line.dash,
      points: { show: false },
      fill: last ? patternOf(line.swatch, stroke) : undefined,
    };
  }

  /** What is filled between two lines. @param {(name: string) => string} colour */
  #bands(colour) {
    const { lines, stacked, between } = this.kind;
    if (between) return [{ series: [1, 2], fill: colour("--band") }];
    if (!stacked) return [];
    return lines
      .slice(0, -1)
      .map((line, at) => ({ series: [at + 1, at + 2], fill: patternOf(line.swatch, colour(line.colour)) }));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const last = this.rows.length - 1;
    const here = this.at ?? last;
    const steps = {
      ArrowLeft: here - 1,
      ArrowRight: here + 1,
      PageUp: here - 10,
      PageDown: here + 10,
      Home: 0,
      End: last,
    };
    if (event.key === "Escape") this.#point(null);
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.#point(Math.max(0, Math.min(last, steps[event.key])));
  }

  /** @param {number | null} at */
  #point(at) {
    if (!this.plot) return;
    const left = at === null ? -10 : this.plot.valToPos(this.rows[at].at, "x");
    this.plot.setCursor({ left, top: at === null ? -10 : 10 });
  }

  /** @param {number | null | undefined} at */
  #moved(at) {
    this.at = at ?? null;
    this.#tell();
  }

  /** The figures of the moment pointed at, else the newest. */
  #tell() {
    const pointed = this.at === null ? null : this.rows[this.at];
    const row = pointed ?? this.rows.at(-1);
    const { lines, text, between } = this.kind;
    const figures = lines.map((line) => ({ ...line, value: text(row?.[line.field]) }));
    if (between) figures.push({ field: "open", title: "Open", colour: "", swatch: "band", value: text(row?.open) });
    const when = row ? moment(row.at * 1000) : "";
    show(
      this.legend,
      figures.map(({ title, swatch, value }) =>
        h(
          "span",
          { class: "key" },
          h("span", { class: `swatch ${swatch}`, "aria-hidden": "true" }),
          title,
          " ",
          h("b", null, value),
        ),
      ),
      h("span", { class: "when" }, pointed ? when : row && `newest: ${when}`),
    );
    const said = figures.map(({ title, value }) => `${title} ${value}`).join(", ");
    this.host.setAttribute("aria-valuemin", "0");
    this.host.setAttribute("aria-valuemax", String(Math.max(0, this.rows.length - 1)));
    this.host.setAttribute("aria-valuenow", String(this.at ?? Math.max(0, this.rows.length - 1)));
    this.host.setAttribute("aria-valuetext", row ? `${when}: ${said}` : "no figures");
  }
}

/** @param {Kind} kind @param {number | null} low @param {number | null} high @returns {[number, number]} */
function yRange(kind, low, high) {
  if (low === null || high === null) return [0, 1];
  if (!kind.between) return [0, Math.max(4, high * 1.08)];
  const margin = Math.max(2, (high - low) * 0.08);
  return [Math.max(0, low - margin), high + margin];
}

/** The day is said at its first label, and where the labels are days. @param {number[]} splits @param {number} step */
function timeLabels(splits, step) {
  let before = "";
  return splits.map((at) => {
    const day = dayAndMonth(at * 1000);
    if (step >= 86_400) return day;
    const label = hourAndMinute(at * 1000) + (day === before ? "" : `\n${day}`);
    before = day;
    return label;
  });
}

/** The width of the longest label. @param {string[] | null} labels */
function room(labels) {
  return 18 + 7 * Math.max(0, ...(labels ?? []).map((label) => label.length));
}
