/** Doing one thing again and again: while the page is looked at, and less often while it fails. */

const PACE = 5_000; // milliseconds
const SLOWEST = 60_000;

export class Poller {
  /** @param {() => Promise<void>} task @param {(error: Error | null, next: number) => void} told told after each
   *  attempt: what went wrong, if anything, and the milliseconds until the next */
  constructor(task, told) {
    this.task = task;
    this.told = told;
    this.failures = 0;
    this.timer = 0;
    this.turn = 0; // counts the beginnings, so that an attempt that was overtaken is known
    this.running = false;
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.#seen());
  }

  /** Do it now, and go on. */
  now() {
    this.running = true;
    clearTimeout(this.timer);
    return this.#attempt(++this.turn);
  }

  stop() {
    this.running = false;
    this.turn += 1;
    clearTimeout(this.timer);
  }

  #seen() {
    if (!this.running) return;
    if (document.hidden) clearTimeout(this.timer);
    else this.now();
  }

  /** @param {number} turn */
  async #attempt(turn) {
    let failed = null;
    try {
      await this.task();
    } catch (error) {
      failed = error;
    }
    if (turn !== this.turn || !this.running) return;
    this.failures = failed ? this.failures + 1 : 0;
    const next = failed ? Math.min(SLOWEST, PACE * 2 ** (this.failures - 1)) : PACE;
    this.told(failed, next);
    if (!document.hidden && this.running) this.timer = setTimeout(() => this.#attempt(++this.turn), next);
  }
}
