/** The page: its head and foot, which view is shown, and who looks at it. */

import { ApiError, forgetToken, get, keepToken, token, tryToken } from "./api.js";
import { chainView } from "./chain.js";
import { closeDialogs } from "./dialogs.js";
import { h, show } from "./dom.js";
import { exceptionsView } from "./exceptions.js";
import { chooseZone, clock, counted, number, ownZone, zone, zoneName } from "./format.js";
import { overviewView } from "./overview.js";
import { Poller } from "./poller.js";
import { repositoriesView } from "./repositories.js";
import { signinView } from "./signin.js";

/** @typedef {{name: string, role: "read" | "operate", tokens: boolean}} Me */
/** What every view is given. `cutover` is null if none is configured.
 *  @typedef {{me: Me, cutover: any | null, say: (text: string) => void, refresh: () => void}} Shared */
/** @typedef {{element: HTMLElement, refresh: (shared: Shared) => Promise<void>, leave?: () => void}} View */

const VIEWS = {
  overview: { title: "Overview", make: overviewView },
  exceptions: { title: "Exceptions", make: exceptionsView },
  repositories: { title: "Repositories", make: repositoriesView },
  chain: { title: "Chain", make: chainView },
};
const NO_CUTOVER_PATIENCE = 60_000; // milliseconds until it is asked again whether a cutover is configured

class Page {
  constructor() {
    this.bar = document.getElementById("bar");
    this.main = document.getElementById("main");
    this.foot = document.getElementById("foot");
    this.news = document.getElementById("news");
    this.trouble = document.getElementById("trouble");
    /** @type {Me | null} */
    this.me = null;
    this.cutover = null;
    this.cutoverAsked = 0;
    /** @type {View | null} */
    this.view = null;
    this.name = "";
    this.updated = null;
    this.failed = null;
    this.poller = new Poller(
      () => this.#refresh(),
      (error, next) => this.#told(error, next),
    );
  }

  start() {
    addEventListener("hashchange", () => this.#route(true));
    document.getElementById("skip").onclick = (event) => {
      event.preventDefault(); // the hash names the view
      this.main.focus();
    };
    this.#route(false);
    this.#drawFoot();
  }

  /** Show the view that the hash names. @param {boolean} moved the reader went there, so the focus goes along */
  #route(moved) {
    closeDialogs();
    const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
    this.view?.leave?.();
    this.name = name in VIEWS ? name : "overview";
    this.view = VIEWS[this.name].make(new URLSearchParams(query));
    this.main.replaceChildren(this.view.element);
    this.#drawBar();
    this.#title();
    if (moved) {
      scrollTo(0, 0);
      this.main.focus({ preventScroll: true });
    }
    this.poller.now();
  }

  async #refresh() {
    if (!this.me) this.me = await get("me");
    await this.#loadCutover();
    await this.view?.refresh({
      me: this.me,
      cutover: this.cutover,
      say: (text) => this.#say(text),
      refresh: () => this.poller.now(),
    });
  }

  async #loadCutover() {
    if (this.cutoverAsked && !this.cutover && Date.now() - this.cutoverAsked < NO_CUTOVER_PATIENCE) return;
    const before = this.cutover;
    try {
      this.cutover = await get("cutover");
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      this.cutover = null;
    }
    this.cutoverAsked = Date.now();
    if (before && this.cutover) this.#announce(before, this.cutover);
  }

  /** Say what is worth an interruption; the figures themselves are not. @param {any} before @param {any} now */
  #announce(before, now) {
    if (before.gate.met !== now.gate.met) {
      this.#say(now.gate.met ? "The gate is met." : "The gate is not met any more.");
    } else if (now.exceptions > before.exceptions) {
      this.#say(`${counted(now.exceptions, "exception", "exceptions")} now.`);
    }
  }

  /** @param {any} error @param {number} next */
  #told(error, next) {
    if (error instanceof ApiError && error.status === 401) {
      const why = token() === null ? "" : "This token is not accepted any more.";
      this.#forget();
      this.#signIn(why);
      return;
    }
    if (error && !this.failed) this.#say("The figures cannot be renewed at present.");
    if (!error && this.failed) this.#say("The figures are up to date again.");
    this.failed = error;
    if (!error) this.updated = Date.now();
    this.#drawTrouble(next);
    this.#drawBar();
    this.#title();
  }

  /** Forget the token and all that was shown with it. */
  #forget() {
    forgetToken();
    this.me = null;
    this.cutover = null;
    this.cutoverAsked = 0;
    this.failed = null;
    this.updated = null;
    show(this.trouble);
  }

  /** Ask for a token. @param {string} why */
  #signIn(why) {
    closeDialogs();
    this.poller.stop();
    this.view?.leave?.();
    this.view = null;
    this.#drawBar();
    document.title = "Sign in \u2013 Stocktake";
    const accept = async (given) => {
      this.me = await tryToken(given);
      keepToken(given);
      this.#route(true);
    };
    // Whoever reads already need not sign in.
    const view = signinView(why, accept, this.me && (() => this.#route(true)));
    this.main.replaceChildren(view.element);
    view.focus();
  }

  #drawBar() {
    show(
      this.bar,
      h("a", { class: "brand", href: "#/overview" }, "Stocktake"),
      this.me &&
        h(
          "nav",
          { "aria-label": "Views" },
          Object.keys(VIEWS).map((name) => this.#link(name)),
        ),
      this.me && h("div", { class: "bar-end" }, this.#freshness(), this.#who()),
    );
  }

  /** @param {string} name */
  #link(name) {
    const waiting = name === "exceptions" ? this.cutover?.unacknowledged : 0;
    return h(
      "a",
      { href: `#/${name}`, "aria-current": name === this.name ? "page" : null },
      VIEWS[name].title,
      waiting > 0 &&
        h("span", { class: "badge" }, number(waiting), h("span", { class: "unseen" }, " not acknowledged")),
    );
  }

  #freshness() {
    if (this.updated === null) return null;
    const text = this.failed ? "Not up to date" : `Updated ${clock(this.updated)}`;
    return h("span", { class: this.failed ? "fresh late" : "fresh" }, text);
  }

  #who() {
    if (!this.me.tokens) return null;
    const button = (text, run) => h("button", { type: "button", class: "quiet", onclick: run }, text);
    return h(
      "span",
      { class: "who" },
      h(
        "span",
        { title: `Signed in with the role ${this.me.role}` },
        this.me.name,
        h("small", null, ` ${this.me.role}`),
      ),
      this.me.role === "read" && button("Sign in to act", () => this.#signIn("")),
      token() !== null && button("Sign out", () => this.#signOut()),
    );
  }

  /** What the browser's own password lets read is shown still; if there is none, a token is asked for. */
  #signOut() {
    this.#forget();
    this.#route(true);
  }

  /** @param {number} next */
  #drawTrouble(next) {
    if (!this.failed) {
      show(this.trouble);
      return;
    }
    const last = this.updated === null ? "Nothing could be loaded yet" : `Last updated ${clock(this.updated)}`;
    show(
      this.trouble,
      h(
        "div",
        { class: "trouble" },
        h("span", null, h("b", null, last), `: ${this.failed.message}. Trying again in ${Math.round(next / 1000)} s.`),
        h("button", { type: "button", onclick: () => this.poller.now() }, "Try now"),
      ),
    );
  }

  #drawFoot() {
    const change = (event) => {
      chooseZone(event.target.value);
      this.#drawFoot();
      this.#route(false);
    };
    const own = ownZone();
    const options = own === "UTC" ? ["UTC"] : [own, "UTC"];
    const select = h(
      "select",
      { id: "zone", onchange: change },
      options.map((name) => h("option", { value: name === own ? "own" : "UTC", selected: name === zone() }, name)),
    );
    show(this.foot, h("label", { for: "zone" }, "Times are shown in"), select, h("span", null, `now ${zoneName()}`));
  }

  /** @param {string} text */
  #say(text) {
    this.news.textContent = text;
  }

  #title() {
    const here = VIEWS[this.name].title;
    const state = this.cutover && `${this.cutover.gate.met ? "Ready" : "Not ready"}, ${number(this.cutover.open)} open`;
    document.title = [this.failed && "Not up to date", state, here, "Stocktake"].filter(Boolean).join(" \u2013 ");
  }
}

new Page().start();
