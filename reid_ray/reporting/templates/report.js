"use strict";
// Sorts and filters what the page shows anyway, and enlarges photos. Texts go in as text, never as markup.
const made = (name, text = "", set = {}) => Object.assign(document.createElement(name), { textContent: text }, set);

function figure(cell) {
  const number = parseFloat(cell.dataset.value ?? cell.textContent);
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}

function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = made("button", head.textContent, { type: "button", className: "sort" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (column === 0 && !head.hasAttribute("aria-sort"));
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [row, row.cells[column] ? figure(row.cells[column]) : ""]);
      // A method without the figure comes last, whichever way the others are sorted.
      rows.sort(([, a], [, b]) => typeof a !== typeof b && column
        ? (typeof a === "number" ? -1 : 1)
        : (up ? 1 : -1) * (typeof a === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true })));
      body.append(...rows.map(([row]) => row));
    });
  });
}

function chooser(label, values, chosen) {
  const box = made("label", `${label} `), list = made("select");
  list.append(made("option", "all", { value: "" }), ...values.map((value) => made("option", value, { value })));
  list.addEventListener("change", chosen);
  box.append(list);
  return [box, list];
}

function filterable(items, names, before, first = Infinity) {
  const bar = made("p", "", { className: "filters" }), count = made("span", "", { role: "status" });
  const more = made("button", "", { type: "button", className: "more" });
  let most = first, found = items;
  const show = () => {
    found = items.filter((item) => lists.every(([name, list]) => !list.value || item.dataset[name] === list.value));
    const seen = new Set(found.slice(0, most));
    for (const item of items) item.hidden = !seen.has(item);
    count.textContent = `${seen.size} of ${items.length} shown`;
    more.hidden = seen.size === found.length;
    more.textContent = `Show all ${found.length}`;
  };
  const lists = names.flatMap(([name, label]) => {
    const values = [...new Set(items.map((item) => item.dataset[name]))].filter((value) => value !== undefined);
    if (values.length < 2) return [];
    const [box, list] = chooser(label, values.sort(new Intl.Collator(undefined, { numeric: true }).compare), show);
    bar.append(box);
    return [[name, list]];
  });
  if (!lists.length && items.length <= first) return;
  more.addEventListener("click", () => {
    const next = found[most];
    most = Infinity;
    show();
    next.querySelector("button").focus();
  });
  addEventListener("beforeprint", () => {
    const kept = most;
    most = Infinity;
    show();
    addEventListener("afterprint", () => { most = kept; show(); }, { once: true });
  });
  bar.append(count);
  before.before(bar);
  if (most < Infinity) before.after(more);
  show();
}

function enlargeable(item) {
  const photos = item.querySelector(".photos");
  const button = made("button", "Enlarge", { type: "button", className: "enlarge" });
  button.addEventListener("click", () => {
    const dialog = made("dialog"), close = made("button", "Close", { type: "button", autofocus: true });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.append(close, item.querySelector(".answer").cloneNode(true), photos.cloneNode(true));
    const pair = item.querySelector(".pair");
    if (pair) dialog.append(pair.cloneNode(true));
    document.body.append(dialog);
    dialog.showModal();
  });
  item.append(button);
}

document.querySelectorAll("table.sortable").forEach((table) => {
  sortable(table);
  filterable([...table.tBodies[0].rows], [["family", "Family"], ["backbone", "Backbone"]], table.closest(".scroll"));
});
document.querySelectorAll("[data-filters]").forEach((list) => {
  const names = list.dataset.filters.split(",").map((one) => one.split(":"));
  [...list.children].forEach(enlargeable);
  filterable([...list.children], names, list, Number(list.dataset.first ?? Infinity));
});
