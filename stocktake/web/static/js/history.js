/** The rows of the past that a chart shows, fetched once and then only what is new. */

import { get } from "./api.js";

/** @typedef {"hour" | "day" | "week" | "month"} Range */

/** @type {Record<Range, {title: string, step: "minute" | "hour", seconds: number}>} */
export const RANGES = {
  hour: { title: "Hour", step: "minute", seconds: 3600 },
  day: { title: "Day", step: "minute", seconds: 86_400 },
  week: { title: "Week", step: "hour", seconds: 7 * 86_400 },
  month: { title: "Month", step: "hour", seconds: 30 * 86_400 },
};
const STEP = { minute: 60, hour: 3600 };
const AGAIN = 180; // seconds: the newest rows are asked for again, for they may have come late

export class History {
  /** @param {Range} range */
  constructor(range) {
    this.range = range;
    /** @type {Map<number, any>} */
    this.rows = new Map();
    this.newest = null; // of the minutes, where the rows are hours
  }

  /** Fetch what is new up to `now` (seconds), and forget what is too old. @param {number} now */
  async load(now) {
    const { step, seconds } = RANGES[this.range];
    const from = now - seconds;
    const last = Math.max(...this.rows.keys());
    const since = Number.isFinite(last) ? Math.max(from, last - AGAIN) : from;
    for (const row of await fetchRows(step, since, now)) this.rows.set(secondsOf(row), row);
    for (const time of this.rows.keys()) if (time < from) this.rows.delete(time);
    this.newest = step === "hour" ? (await fetchRows("minute", now - AGAIN, now)).at(-1) : null;
  }

  /** The rows in their order, each with `at` in seconds; a pause in which none were kept has a row of its own, without
   *  figures. */
  all() {
    const rows = [...this.rows.values()];
    if (this.newest) rows.push(this.newest);
    const timed = rows.map((row) => ({ ...row, at: secondsOf(row) })).sort((one, other) => one.at - other.at);
    const pause = 3 * STEP[RANGES[this.range].step];
    return timed.flatMap((row, at) => (at && row.at - timed[at - 1].at > pause ? [{ at: row.at - 1 }, row] : [row]));
  }
}

/** @param {string} step @param {number} from @param {number} to */
async function fetchRows(step, from, to) {
  const parameters = { step, begin: String(Math.floor(from)), end: String(Math.floor(to)) };
  return (await get("cutover/history", parameters)).rows;
}

/** @param {any} row */
function secondsOf(row) {
  return Date.parse(row.time) / 1000;
}
