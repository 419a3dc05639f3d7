// Sorts a table by the column whose heading is pressed. Without this script the page is whole.
"use strict";

const SECONDS = { h: 3600, min: 60, s: 1 };

// Sort key of a text: its first number, a time in seconds, or its words; null if empty.
function key(text, number) {
  const plain = text.trim().replaceAll("\u2212", "-").replaceAll("\u00a0", " ");
  if (!number) return plain.toLowerCase() || null;
  const parts = [...plain.matchAll(/([\d.]+) (h|min|s)(?= |$)/g)];
  if (parts.length) return parts.reduce((sum, [, size, unit]) => sum + size * SECONDS[unit], 0);
  const found = plain.replace(/(\d),(?=\d{3})/g, "$1").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/);
  return found ? Number(found[0]) : null;
}

// Empty cells stay last in either direction; equal ones keep their order.
function compare(one, other, turn) {
  if (one === null || other === null) return (one === null) - (other === null);
  return turn * (typeof one === "number" ? one - other : one.localeCompare(other));
}

// The rows that move together: all of them, or those of one block under its own name.
function sort(table, column, number, turn) {
  const bodies = [...table.tBodies];
  const whole = bodies.every((body) => body.rows.length === 1);
  const parts = whole ? [[table, bodies]] : bodies.map((body) => [body, [...body.rows]]);
  for (const [home, rows] of parts) {
    const name = whole ? null : rows[0].cells[0];
    if (name) name.remove();
    const keys = new Map(rows.map((row) => {
      const cell = (whole ? row.rows[0] : row).cells[name ? column - 1 : column];
      return [row, key(cell.firstChild?.nodeValue ?? "", number)];
    }));
    rows.sort((one, other) => compare(keys.get(one), keys.get(other), turn));
    if (name) rows[0].prepend(name);
    home.append(...rows);
  }
}

for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
  const heads = rows.length > 1 ? [...table.tHead.rows].at(-1).cells : [];
  for (const head of heads) {
    if (head.tagName !== "TH" || (head.cellIndex === 0 && rows.length > table.tBodies.length)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, head.cellIndex, head.classList.contains("number"), up ? 1 : -1);
    });
  }
}
