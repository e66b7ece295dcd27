/** When the migration will have caught up, in words. */

import { duration, moment, rate } from "./format.js";

/** What is said large, and the sentence to it. @param {any} cutover @returns {[string, string]} */
export function forecastWords(cutover) {
  const { forecast, rates } = cutover;
  switch (forecast.outlook) {
    case "done":
      return ["Caught up", "nothing is open"];
    case "expected":
      return [`Caught up in about ${duration(forecast.seconds)}`, `on ${moment(forecast.at)}, at the present rates`];
    case "never":
      return [
        "Never caught up",
        `at the present rates: ${rate(rates.arrived_per_hour)} an hour come, ${rate(rates.settled_per_hour)} are settled`,
      ];
    default:
      return ["Not known yet", "rates are told after two minutes of figures"];
  }
}
