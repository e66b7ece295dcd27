/** How each repository stands: how far its events are applied, what holds it back, what its sinks lack. */

import { everything, get } from "./api.js";
import { empty, h, row, show, table } from "./dom.js";
import { bytes, counted, duration, NONE, number, time, words } from "./format.js";

const PARTITIONS = [
  { name: "Topic and partition" },
  { name: "Applied offset", number: true },
  { name: "Last offset", number: true },
  { name: "Lag", number: true },
  { name: "Watermark age", number: true },
  { name: "Consumer heard", number: true },
];
const SINKS = [
  { name: "Sink" },
  { name: "State" },
  { name: "Has inventory", number: true },
  { name: "Behind", number: true },
  { name: "Inventories", number: true },
  { name: "Files", number: true },
  { name: "Bytes", number: true },
  { name: "Failures", number: true },
];
const COUNTERS = [{ name: "Counter" }, { name: "Count", number: true }];

/** @returns {import("./main.js").View} */
export function repositoriesView() {
  const body = h("div", null, h("p", { class: "loading" }, "Loading\u2026"));
  const element = h("div", { class: "view" }, h("div", { class: "view-head" }, h("h1", null, "Repositories")), body);
  return {
    element,
    async refresh() {
      const found = await everything("repositories");
      const all = await Promise.all(found.map(({ name }) => get(`repositories/${encodeURIComponent(name)}`)));
      show(
        body,
        all.length
          ? all.map(panel)
          : empty("No repositories are followed.", "Name one in the settings, as [repositories.NAME] with its topics."),
      );
    },
  };
}

/** @param {any} status */
function panel(status) {
  const id = `repository-${status.repository}`;
  return h(
    "section",
    { class: "panel repository", "data-key": status.repository, "aria-labelledby": id },
    h(
      "div",
      { class: "panel-head" },
      h("h2", { id }, status.repository),
      h("a", { href: `#/chain?${new URLSearchParams({ repository: status.repository })}` }, "Its chain"),
    ),
    status.stopped &&
      h(
        "p",
        { class: "notice bad" },
        h("b", null, "Stopped: "),
        status.stopped,
        h("span", { class: "line" }, "Mend the sender, then run ", h("code", null, "stocktake resume"), "."),
      ),
    status.held_back_by.length > 0 && holds(status.held_back_by),
    figures(status),
    h("h3", null, "Partitions"),
    status.partitions.length
      ? table(`Partitions of ${status.repository}`, PARTITIONS, status.partitions.map(partition), {
          stacks: true,
          class: "compact",
        })
      : empty("No consumer has seen the topics yet.", ["Is ", h("code", null, "stocktake consume"), " running?"]),
    status.sinks.length > 0 && [
      h("h3", null, "Sinks"),
      table(`Sinks of ${status.repository}`, SINKS, status.sinks.map(sink), { stacks: true, class: "compact sinks" }),
    ],
    counters(status),
  );
}

/** @param {any[]} found */
function holds(found) {
  return h(
    "div",
    { class: "notice" },
    h("b", null, "The watermark is held back"),
    h(
      "ul",
      null,
      found.map((hold) =>
        h(
          "li",
          null,
          h("b", null, hold.partition || "all partitions"),
          `: ${hold.why}`,
          hold.since && [", for ", duration(hold.seconds), ", since ", time(hold.since)],
        ),
      ),
    ),
  );
}

/** @param {any} status */
function figures(status) {
  const { head } = status;
  const dead = status.counters.dead_letters ?? 0;
  const debt =
    status.oldest_debt === null
      ? "everything is inventoried"
      : `the oldest for ${counted(status.oldest_debt, "cut", "cuts")}`;
  return h(
    "dl",
    { class: "strip" },
    figure("Studies", number(status.studies)),
    figure("Changed since inventoried", number(status.backlog), debt),
    figure(
      "Lag",
      status.lag === null ? "not known" : number(status.lag),
      status.lag === null ? "the broker does not tell" : "messages to apply",
    ),
    figure(
      "Watermark",
      status.watermark ? `${duration(status.watermark_age)} old` : "none yet",
      status.watermark && time(status.watermark, { seconds: true }),
    ),
    figure(
      "Head",
      head ? `${words(head.kind)} ${number(head.sequence)}` : "none yet",
      head && [duration(status.head_age), " old, ", head.status],
    ),
    figure(
      "Dead letters",
      number(dead),
      dead ? "messages that were no events" : "every message was an event",
      dead ? "warn" : null,
    ),
  );
}

/** @param {string} name @param {any} value @param {any} [more] @param {string | null} [kind] */
function figure(name, value, more, kind = null) {
  return h(
    "div",
    { class: kind },
    h("dt", null, name),
    h("dd", { class: "value" }, value),
    more && h("dd", { class: "hint" }, more),
  );
}

/** @param {any} one */
function partition(one) {
  return row(`${one.topic}/${one.partition}`, PARTITIONS, [
    `${one.topic} / ${one.partition}`,
    one.applied_offset < 0 ? "nothing" : number(one.applied_offset),
    one.last_offset === null ? "not known" : one.last_offset < 0 ? "empty" : number(one.last_offset),
    number(one.lag),
    aged(one.watermark, one.watermark_age),
    one.published ? [aged(one.published, one.published_age), " ago"] : "never",
  ]);
}

/** @param {string | null} iso @param {number | null} age */
function aged(iso, age) {
  if (!iso) return NONE;
  const shown = time(iso, { seconds: true });
  return h("time", { datetime: iso, title: `${shown.textContent} = ${shown.title}` }, duration(age));
}

/** @param {any} one */
function sink(one) {
  const state = one.trouble
    ? [
        h("span", { class: "mark bad" }, "In trouble"),
        h("small", null, one.trouble, ", for ", duration(one.trouble_age)),
      ]
    : h("span", { class: one.behind ? "mark" : "mark good" }, one.behind ? "Catching up" : "Up to date");
  return row(one.name, SINKS, [
    one.name,
    state,
    one.sequence ? number(one.sequence) : "none",
    number(one.behind),
    number(one.inventories),
    number(one.files),
    bytes(one.bytes),
    number(one.failures),
  ]);
}

/** @param {any} status */
function counters(status) {
  const found = Object.entries(status.counters);
  if (!found.length) return null;
  const rows = found.map(([name, count]) => row(name, COUNTERS, [words(name), number(count)]));
  return h(
    "details",
    null,
    h("summary", null, "All counters"),
    table(`Counters of ${status.repository}`, COUNTERS, rows, { class: "counters" }),
  );
}
