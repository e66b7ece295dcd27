/** Building elements, and bringing a tree up to date without touching what did not change. */

const HANDLERS = ["onclick", "onchange", "oninput", "onsubmit", "onkeydown"];
// What the reader or the browser changes on its own is left as it is.
const LEFT = { DETAILS: new Set(["open"]), DIALOG: new Set(["open"]) };

/**
 * An element. Properties that begin with "on" are handlers, true is an attribute without value, and null, undefined and
 * false leave an attribute out. Children are nodes, texts, numbers, or lists of them; text is never read as HTML.
 * @param {string} tag
 * @param {Record<string, any> | null} [properties]
 * @param {...any} children
 * @returns {any}
 */
export function h(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) node[name] = value;
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...flat(children));
  return node;
}

/** @param {any[]} children @returns {(Node | string)[]} */
function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * Bring the children of an element up to date. Nodes that stay keep focus, scroll position and selection; elements with
 * a `data-key` are known by it, all others by their place.
 * @param {Element} element
 * @param {...any} children
 */
export function show(element, ...children) {
  const wanted = document.createElement(element.nodeName);
  wanted.append(...flat(children));
  renewChildren(element, wanted);
}

/** @param {any} old @param {any} wanted */
function renew(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  renewAttributes(old, wanted);
  for (const name of HANDLERS) if (old[name] !== wanted[name]) old[name] = wanted[name];
  renewChildren(old, wanted);
}

/** @param {Element} old @param {Element} wanted */
function renewAttributes(old, wanted) {
  const left = LEFT[old.nodeName] ?? new Set();
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && !left.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value && !left.has(name)) old.setAttribute(name, value);
  }
}

/** @param {Element} old @param {Element} wanted */
function renewChildren(old, wanted) {
  const keys = new Set([...wanted.children].map(keyOf));
  const known = new Map();
  for (const child of [...old.children]) {
    const key = keyOf(child);
    if (key === null) continue;
    if (keys.has(key)) known.set(key, child);
    else child.remove(); // before anything is moved: a row that is moved would lose the focus
  }
  let place = old.firstChild;
  for (const child of [...wanted.childNodes]) {
    const key = keyOf(child);
    const match = key === null ? place : known.get(key);
    if (match && match.nodeName === child.nodeName && keyOf(match) === key) {
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      renew(match, child);
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** @param {any} node @returns {string | null} */
function keyOf(node) {
  return node instanceof Element ? node.getAttribute("data-key") : null;
}

/**
 * A table in a region that scrolls sideways by keyboard too. `stacks`: on a narrow screen each row is a block, and each
 * cell says its column.
 * @param {string} caption
 * @param {{name: string, number?: boolean, hidden?: boolean}[]} columns
 * @param {any[]} rows made with `row`
 * @param {{stacks?: boolean, class?: string, foot?: any}} [options]
 */
export function table(caption, columns, rows, options = {}) {
  const heads = columns.map((one) =>
    h(
      "th",
      { scope: "col", class: one.number && "number" },
      one.hidden ? h("span", { class: "unseen" }, one.name) : one.name,
    ),
  );
  const classes = [options.class, options.stacks && "stacks"].filter(Boolean).join(" ");
  return h(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      { class: classes || null },
      h("caption", { class: "unseen" }, caption),
      h("thead", null, h("tr", null, heads)),
      h("tbody", null, rows),
      options.foot && h("tfoot", null, options.foot),
    ),
  );
}

/**
 * A row for `table`; the first cell is the row's head.
 * @param {string} key
 * @param {{name: string, number?: boolean}[]} columns
 * @param {any[]} cells
 * @param {string | null} [kind] the class of the row
 */
export function row(key, columns, cells, kind = null) {
  return h(
    "tr",
    { "data-key": key, class: kind },
    cells.map((cell, at) =>
      h(
        at ? "td" : "th",
        { scope: at ? null : "row", class: columns[at].number && "number", "data-name": columns[at].name },
        at ? h("div", null, cell) : cell, // one child beside the column's name, where rows are blocks
      ),
    ),
  );
}

/** A place that has nothing to show, and what to do about it. @param {string} title @param {...any} advice */
export function empty(title, ...advice) {
  return h(
    "div",
    { class: "empty" },
    h("p", { class: "empty-title" }, title),
    advice.map((one) => h("p", null, one)),
  );
}

/** A group of buttons of which one is pressed. @param {string} label @param {[string, string][]} options
 *  @param {string} chosen @param {(value: string) => void} choose */
export function choices(label, options, chosen, choose) {
  return h(
    "div",
    { class: "choices", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text),
    ),
  );
}
