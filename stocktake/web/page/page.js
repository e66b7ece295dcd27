"use strict";
// Figures are asked for again a while after they came, never by two questions at once, and not while nobody looks.

const PAUSE = 5000; // milliseconds
const RECENT = 10; // inventories that are listed
const API = "/api/v1/repositories";

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status}: ${(await answer.json()).detail}`);
  return answer.json();
}

async function askAll(path) {
  const items = [];
  let next = null;
  do {
    const page = await ask(path + (next === null ? "" : `?cursor=${encodeURIComponent(next)}`));
    items.push(...page.items);
    next = page.next;
  } while (next !== null);
  return items;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function whole(number) {
  return number === null ? "not known" : number.toLocaleString();
}

function age(seconds) {
  if (seconds === null) return "none yet";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${(seconds / size).toFixed(1)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

function figures(status) {
  const list = element("dl");
  const shown = {
    "studies": whole(status.studies),
    "backlog, studies": whole(status.backlog),
    "lag, messages": whole(status.lag),
    "watermark's age": age(status.watermark_age),
    "head": status.head === null ? "none yet" : `${status.head.kind} ${status.head.sequence}, ${status.head.status}`,
    "head's age": age(status.head_age),
  };
  for (const [name, value] of Object.entries(shown)) {
    const one = element("div");
    one.append(element("dt", name), element("dd", value));
    list.append(one);
  }
  return list;
}

function troubles(status) {
  const told = [];
  if (status.stopped !== null) told.push(`stopped: ${status.stopped}`);
  for (const hold of status.held_back_by) told.push(`held back: ${hold.partition ? hold.partition + ": " : ""}${hold.why}`);
  for (const sink of status.sinks) if (sink.trouble !== null) told.push(`sink ${sink.name}: ${sink.trouble}`);
  return told.map((text) => element("p", text, "trouble"));
}

function table(inventories) {
  const made = element("table");
  const head = element("tr");
  for (const name of ["sequence", "kind", "status", "watermark", "own records", "of the tree", "bytes"]) {
    head.append(element("th", name, ["own records", "of the tree", "bytes"].includes(name) ? "number" : ""));
  }
  made.append(head);
  for (const one of inventories) {
    const row = element("tr");
    row.append(element("td", one.sequence), element("td", one.kind), element("td", one.status));
    row.append(element("td", one.watermark));
    for (const number of [one.own_records, one.total_records, one.bytes]) row.append(element("td", whole(number), "number"));
    made.append(row);
  }
  const around = element("div", undefined, "scrolled");
  around.append(made);
  return around;
}

async function section(name) {
  const at = `${API}/${encodeURIComponent(name)}`;
  const [status, inventories] = await Promise.all([ask(at), ask(`${at}/inventories?limit=${RECENT}`)]);
  const made = element("section");
  made.append(element("h2", name), figures(status), ...troubles(status), table(inventories.items));
  return made;
}

async function refresh() {
  const state = document.getElementById("state");
  try {
    const names = (await askAll(API)).map((one) => one.name);
    document.getElementById("repositories").replaceChildren(...(await Promise.all(names.map(section))));
    state.textContent = `as of ${new Date().toLocaleTimeString()}`;
    state.className = "";
  } catch (error) {
    // What was shown stays, and its age is in the line before.
    state.textContent = `${error.message} (${new Date().toLocaleTimeString()})`;
    state.className = "trouble";
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await refresh();
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

run();
