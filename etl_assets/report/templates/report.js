"use strict";
// Sorting, filtering, the choice of light or dark, and opening what a link leads to. The page is complete without.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function key(row, column) {
  const cell = row.cells[column];
  const value = cell.dataset.v ?? cell.textContent.trim();
  return value !== "" && !isNaN(value) ? Number(value) : value.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sort(table, column, head) {
  const up = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.tHead.rows[0].cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", up === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  rows.sort((a, b) => up * compare(a[0], b[0]));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
}

function filter(table, text, said) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const content = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => content.includes(word));
    shown += !row.hidden;
  }
  said.textContent = wanted.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
}

for (const table of all("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column, head));
    head.append(button);
    head.setAttribute("aria-sort", head.dataset.sorted ?? "none");
  });
  if (table.tBodies[0].rows.length < 6) continue;
  const bar = document.createElement("div");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const said = document.createElement("span");
  bar.className = "filter";
  input.type = "search";
  input.placeholder = "part of any cell";
  said.setAttribute("role", "status");
  label.append("Filter ", input);
  bar.append(label, said);
  input.addEventListener("input", () => filter(table, input.value, said));
  table.parentElement.before(bar);
}

function arrive() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let place = target; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
  target.hidden = false;
  target.scrollIntoView();
}
addEventListener("hashchange", arrive);
arrive();
addEventListener("beforeprint", () => all("details").forEach((one) => (one.open = true)));

const theme = document.querySelector("button.theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
});
