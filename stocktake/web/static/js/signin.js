/** Asking for a token. */

import { h, show } from "./dom.js";

/**
 * @param {string} why why it is asked now
 * @param {(token: string) => Promise<void>} signIn fails if the token is refused
 * @param {(() => void) | null} cancel goes back to what can be read without; null if nothing can
 */
export function signinView(why, signIn, cancel) {
  const said = h("p", { class: "fault", role: "alert", id: "said" }, why);
  const field = h("input", {
    id: "token",
    type: "password",
    required: true,
    autocomplete: "current-password",
    spellcheck: "false",
    "aria-describedby": "kept said",
  });
  const button = h("button", { class: "first" }, "Sign in");
  const submit = async (event) => {
    event.preventDefault();
    const given = field.value.trim();
    if (!given) return;
    if (!/^[\x21-\x7e]+$/.test(given)) {
      show(said, "A token has neither blanks nor letters beyond ASCII.");
      return;
    }
    button.disabled = true;
    try {
      await signIn(given);
    } catch (error) {
      show(said, error.status === 401 ? "This token is not known. Nothing was kept of it." : `${error.message}.`);
      field.select();
      field.focus();
    } finally {
      button.disabled = false;
    }
  };
  const element = h(
    "section",
    { class: "panel signin", "aria-labelledby": "signin-title" },
    h("h1", { id: "signin-title" }, "Sign in"),
    h(
      "p",
      null,
      cancel
        ? "To acknowledge, verify or produce, give a token with the role operate. Whoever runs this Stocktake has one."
        : "This Stocktake asks for a token. Whoever runs it gives you one.",
    ),
    h(
      "form",
      { method: "post", onsubmit: submit },
      h("label", { for: "token" }, "Token"),
      field,
      said,
      h("div", { class: "actions" }, button, cancel && h("button", { type: "button", onclick: cancel }, "Cancel")),
    ),
    h("p", { class: "hint", id: "kept" }, "It is kept in this tab only, and forgotten when the tab is closed."),
  );
  return { element, focus: () => field.focus() };
}
