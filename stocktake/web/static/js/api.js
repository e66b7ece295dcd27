/** Requests to the JSON API. The token goes into a header and nowhere else.
 *
 * Without a token of its own the page reads with the password, if any, that the browser was given to open it. With one
 * it sends nothing but that, so that the browser asks for no password when it is refused.
 */

const TOKEN_KEPT = "stocktake.token";
const PATIENCE = 20_000; // milliseconds until an answer is given up
const LONG_PATIENCE = 600_000; // a download takes as long as it takes
const MOST = "500"; // items of one page
const ROOT = new URL("api/v1/", document.baseURI);

/** An answer that is no success, or none at all (status 0). */
export class ApiError extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** @returns {string | null} */
export function token() {
  return sessionStorage.getItem(TOKEN_KEPT);
}

/** Keep a token for as long as this tab is open. @param {string} value */
export function keepToken(value) {
  sessionStorage.setItem(TOKEN_KEPT, value);
}

export function forgetToken() {
  sessionStorage.removeItem(TOKEN_KEPT);
}

/** @param {string} path @param {Record<string, string | string[] | null>} [parameters] @returns {Promise<any>} */
export async function get(path, parameters = {}) {
  return (await answer(address(path, parameters))).json();
}

/** Every item of a list, page by page. @param {string} path @returns {Promise<any[]>} */
export async function everything(path) {
  const items = [];
  let cursor = "";
  do {
    const page = await get(path, { limit: MOST, cursor });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor);
  return items;
}

/** Who a token makes of the reader; fails if it is refused. @param {string} given
 *  @returns {Promise<import("./main.js").Me>} */
export async function tryToken(given) {
  return (await answer(address("me"), {}, given)).json();
}

/** @param {string} path @param {object | null} [body] @returns {Promise<any>} */
export async function post(path, body = null) {
  const response = await answer(address(path), {
    method: "POST",
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  return response.status === 204 ? null : response.json();
}

/** Fetch a file and hand it to the browser under a name. @param {string} path @param {string} name
 *  @param {Record<string, string>} [parameters] */
export async function download(path, name, parameters = {}) {
  const response = await answer(address(path, parameters), { signal: AbortSignal.timeout(LONG_PATIENCE) });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** @param {string} path @param {Record<string, string | string[] | null>} parameters */
function address(path, parameters = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== null && one !== "") url.searchParams.append(name, one);
  }
  return url;
}

/** @param {URL} url @param {RequestInit} [options] @param {string | null} [bearer] */
async function answer(url, options = {}, bearer = token()) {
  /** @type {Record<string, any>} */
  const headers = { Accept: "application/json, */*", ...options.headers };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const credentials = bearer ? "omit" : "same-origin";
  const signal = AbortSignal.timeout(PATIENCE);
  let response;
  try {
    response = await fetch(url, { signal, cache: "no-store", credentials, ...options, headers });
  } catch (error) {
    throw new ApiError(
      0,
      error.name === "TimeoutError" ? "Stocktake did not answer in time" : "Stocktake cannot be reached",
    );
  }
  if (!response.ok) throw new ApiError(response.status, await detailOf(response));
  return response;
}

/** @param {Response} response */
async function detailOf(response) {
  try {
    const { detail } = await response.json();
    if (typeof detail === "string") return detail;
  } catch {
    // No JSON: a proxy's own page, say. Its status has to do.
  }
  return `the answer was ${response.status} ${response.statusText}`.trim();
}
