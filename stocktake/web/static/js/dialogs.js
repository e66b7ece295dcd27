/** Dialogs over the page. Escape closes them, and the focus goes back to where it was. */

import { h, show } from "./dom.js";

let made = 0;

/** Open a dialog; it is gone when it is closed. @param {string} title @param {...any} content
 *  @returns {HTMLDialogElement} */
export function openDialog(title, ...content) {
  const id = `dialog-${++made}`;
  const dialog = h("dialog", { "aria-labelledby": id }, h("h2", { id }, title), content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Close what is open, for what it was about is not shown any more. */
export function closeDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
}

/** A button that closes the dialog it is in. @param {string} text @param {string | null} [kind] */
export function closeButton(text, kind = null) {
  return h("button", { type: "button", class: kind, onclick: (event) => event.target.closest("dialog").close() }, text);
}

/**
 * Ask before something is done, and do it. The dialog stays open with the reason if it fails.
 * @param {{title: string, content: any[], action: string, run: () => Promise<void>}} question
 */
export function ask({ title, content, action, run }) {
  const said = h("p", { class: "fault", role: "alert" });
  const button = h("button", { class: "first" }, action);
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    show(said);
    try {
      await run();
      dialog.close();
    } catch (error) {
      show(said, `${error.message}.`);
      button.disabled = false;
    }
  };
  const form = h(
    "form",
    { method: "dialog", onsubmit: submit },
    content,
    said,
    h("div", { class: "actions end" }, closeButton("Cancel"), button),
  );
  const dialog = openDialog(title, form);
}

/** Why something is not offered, to those who may only read; null to all others.
 *  @param {import("./main.js").Me} me @param {string} what */
export function readerNote(me, what) {
  if (me.role === "operate") return null;
  return h(
    "p",
    { class: "notice" },
    `You may read here, as ${me.name}. ${what} needs a token with the role operate: choose \u201cSign in to act\u201d.`,
  );
}
