/** Where a study can stand, in words. */

/** @typedef {{name: string, title: string, means: string}} Place */

/** @type {Place[]} */
export const OPEN = [
  { name: "missing", title: "Missing", means: "at the source, not at the target" },
  { name: "incomplete", title: "Incomplete", means: "the target holds less of it" },
  { name: "different", title: "Different", means: "both have it, and they do not agree" },
  { name: "extra", title: "Extra", means: "at the target, not at the source" },
  {
    name: "removed_at_source_only",
    title: "Removed at source only",
    means: "removed at the source, still at the target",
  },
];

/** @type {Place[]} */
export const ALL = [
  { name: "in_sync", title: "In sync", means: "both agree" },
  ...OPEN,
  { name: "removed_on_both", title: "Removed on both", means: "nothing is left to migrate" },
  { name: "out_of_scope", title: "Out of scope", means: "left out by the rules" },
  { name: "compared_anew", title: "To be compared anew", means: "the rules have changed" },
];

/** @param {string} name */
export function titleOf(name) {
  return ALL.find((place) => place.name === name)?.title ?? name;
}

/** The address of the open studies that a filter leaves, however long they are open. @param {Record<string, string>} filter */
export function exceptionsAt(filter) {
  return `#/exceptions?${new URLSearchParams({ ...filter, older_than: "0" })}`;
}
