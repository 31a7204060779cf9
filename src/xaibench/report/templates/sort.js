"use strict";
function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  for (const [column, head] of heads.entries()) {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const order = was ? (was === "ascending" ? "descending" : "ascending") : button.dataset.first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const value = (row) => row.cells[column].dataset.value;
      const known = (row) => value(row) !== "";
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        order === "descending" && known(a) && known(b) ? compare(value(b), value(a)) : compare(value(a), value(b)));
      table.tBodies[0].append(...rows);
    });
  }
}
