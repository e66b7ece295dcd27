/** Numbers, durations and times as they are read. */

import { h } from "./dom.js";

const LANGUAGE = "en-GB";
const ZONE_KEPT = "stocktake.zone";
const whole = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
const MINUS = "\u2212";
export const NONE = "\u2013";

/** @param {number | null | undefined} value */
export function number(value) {
  return value === null || value === undefined ? NONE : whole.format(value).replace("-", MINUS);
}

/** A rate: with a tenth below ten. @param {number | null | undefined} value */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return (Math.abs(value) < 10 ? tenths : whole).format(value).replace("-", MINUS);
}

/** With its sign, as a change has one. @param {number | null | undefined} value */
export function signed(value) {
  return value === null || value === undefined ? NONE : (value > 0 ? "+" : "") + rate(value);
}

/** A part of a whole that is rounded to 100 % only if it is the whole. @param {number} part @param {number} of */
export function share(part, of) {
  if (!of) return NONE;
  const percent = (100 * part) / of;
  if (part && percent < 0.01) return "<\u20090.01\u2009%";
  const shown = part === of ? 100 : Math.min(99.99, Math.round(percent * 100) / 100);
  return `${shown.toFixed(shown === 0 || shown === 100 ? 0 : 2)}\u2009%`;
}

/** "1 study", "2 studies". @param {number} count @param {string} one @param {string} many */
export function counted(count, one, many) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** @type {[number, string][]} */
const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** The two greatest units of a duration: "3 h 20 min". @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 1) return seconds > 0 ? `${tenths.format(Math.max(0.1, seconds))} s` : "0 s";
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  let rest = Math.round(seconds);
  const at = UNITS.findIndex(([size]) => rest >= size);
  const [size, name] = UNITS[at];
  const text = `${number(Math.floor(rest / size))} ${name}`;
  rest %= size;
  const next = UNITS[at + 1];
  const more = next ? Math.floor(rest / next[0]) : 0;
  return more ? `${text} ${more} ${next[1]}` : text;
}

const BYTES = ["B", "kB", "MB", "GB", "TB"];

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  let at = 0;
  let size = value;
  while (size >= 999.5 && at < BYTES.length - 1) {
    size /= 1000;
    at += 1;
  }
  return `${at && size < 100 ? tenths.format(size) : whole.format(size)} ${BYTES[at]}`;
}

/** The zone that times are shown in: the reader's own unless UTC was asked for. */
export function zone() {
  return localStorage.getItem(ZONE_KEPT) === "UTC" ? "UTC" : ownZone();
}

/** The zone of this computer. */
export function ownZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** @param {string} name */
export function chooseZone(name) {
  localStorage.setItem(ZONE_KEPT, name);
}

const formats = new Map();

/** @param {string} timeZone @param {Intl.DateTimeFormatOptions} options */
function format(timeZone, options) {
  const key = timeZone + JSON.stringify(options);
  if (!formats.has(key))
    formats.set(key, new Intl.DateTimeFormat(LANGUAGE, { ...options, timeZone, hourCycle: "h23" }));
  return formats.get(key);
}

const DAY = /** @type {const} */ ({ day: "numeric", month: "short", year: "numeric" });
const CLOCK = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit" });

/** "27 Nov 2026, 18:40 CET". @param {string | number | Date} when @param {{seconds?: boolean, zone?: string}} [options] */
export function moment(when, options = {}) {
  const seconds = options.seconds ? /** @type {const} */ ({ second: "2-digit" }) : {};
  const wanted = { ...DAY, ...CLOCK, ...seconds, timeZoneName: /** @type {const} */ ("short") };
  return format(options.zone ?? zone(), wanted).format(new Date(when));
}

/** "18:40:05 CET". @param {string | number | Date} when */
export function clock(when) {
  return format(zone(), { ...CLOCK, second: "2-digit", timeZoneName: "short" }).format(new Date(when));
}

/** "18:40", for an axis. @param {number} when */
export function hourAndMinute(when) {
  return format(zone(), CLOCK).format(new Date(when));
}

/** "27 Nov", for an axis. @param {number} when */
export function dayAndMonth(when) {
  return format(zone(), { day: "numeric", month: "short" }).format(new Date(when));
}

/** What the zone is called now: "CET". */
export function zoneName() {
  const parts = format(zone(), { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName").value;
}

/** A moment with its zone, and in UTC where the pointer rests. @param {string | null | undefined} iso
 *  @param {{seconds?: boolean}} [options] */
export function time(iso, options = {}) {
  if (!iso) return NONE;
  return h("time", { datetime: iso, title: moment(iso, { seconds: true, zone: "UTC" }) }, moment(iso, options));
}

/** "21 Sep 2026" of "20260921": a day by itself has no zone. @param {string} day */
export function dicomDay(day) {
  if (!/^\d{8}$/.test(day)) return day;
  return format("UTC", DAY).format(Date.UTC(+day.slice(0, 4), +day.slice(4, 6) - 1, +day.slice(6)));
}

/** "nothing_open": "Nothing open". @param {string} name */
export function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
