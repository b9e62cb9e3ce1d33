"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const themes = ["automatic", "light", "dark"];
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "automatic") + 1) % 3];
    if (next === "automatic") delete root.dataset.theme; else root.dataset.theme = next;
    theme.textContent = "Theme: " + next;
  });
  document.getElementById("print").addEventListener("click", () => window.print());

  // Paper shows what is folded, too.
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  for (const map of document.querySelectorAll(".map")) {
    const view = map.querySelector(".view"), stage = map.querySelector(".stage");
    for (const input of map.querySelectorAll("input[data-layer]")) {
      const layer = stage.querySelector(`.layer[data-layer="${input.dataset.layer}"]`);
      const show = () => {
        if (input.type === "checkbox") layer.style.display = input.checked ? "" : "none";
        else layer.style.opacity = input.value / 100;
      };
      input.addEventListener("input", show);
      show();
    }
    let zoom = 1;
    const set = (next, x, y) => {
      next = Math.min(16, Math.max(1, next));
      // What lies at (x, y) of the view stays there.
      const left = (view.scrollLeft + x) / zoom, top = (view.scrollTop + y) / zoom;
      zoom = next;
      stage.style.setProperty("--zoom", zoom);
      view.scrollLeft = left * zoom - x;
      view.scrollTop = top * zoom - y;
      map.querySelector("output").textContent = Math.round(zoom * 100) + " %";
    };
    const centre = (factor) => set(zoom * factor, view.clientWidth / 2, view.clientHeight / 2);
    map.querySelector("[data-zoom=in]").addEventListener("click", () => centre(1.5));
    map.querySelector("[data-zoom=out]").addEventListener("click", () => centre(1 / 1.5));
    map.querySelector("[data-zoom=all]").addEventListener("click", () => set(1, 0, 0));
    view.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "+" || event.key === "=") centre(1.5);
      else if (event.key === "-") centre(1 / 1.5);
      else if (event.key === "0") set(1, 0, 0);
      else return;
      event.preventDefault();
    });
    view.addEventListener("dblclick", (event) => {
      const box = view.getBoundingClientRect();
      set(zoom * 2, event.clientX - box.left, event.clientY - box.top);
    });
    let held = null;
    view.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      held = [event.clientX + view.scrollLeft, event.clientY + view.scrollTop];
      view.classList.add("dragging");
    });
    window.addEventListener("pointermove", (event) => {
      if (!held) return;
      view.scrollLeft = held[0] - event.clientX;
      view.scrollTop = held[1] - event.clientY;
    });
    window.addEventListener("pointerup", () => { held = null; view.classList.remove("dragging"); });
  }

  for (const box of document.querySelectorAll(".sortable")) {
    const body = box.querySelector("tbody"), heads = [...box.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const number = head.classList.contains("number");
        const now = head.getAttribute("aria-sort");
        // Numbers begin with the largest, words with the first.
        const first = number ? "descending" : "ascending";
        const order = now === "none" ? first : now === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const key = (row) => row.cells[column].dataset.value;
        const rows = [...body.rows].filter((row) => !row.classList.contains("total"));
        rows.sort((a, b) => {
          const x = key(a), y = key(b);
          // What is not there stays last.
          if (x === "" || y === "") return (x === "") - (y === "");
          return sign * (number ? x - y : x.localeCompare(y, undefined, { numeric: true }));
        });
        for (const row of [...rows, ...body.querySelectorAll(".total")]) body.append(row);
      });
    });
    const find = box.querySelector("input[type=search]");
    if (find) find.addEventListener("input", () => {
      const words = find.value.toLowerCase();
      let count = 0;
      for (const row of body.rows) {
        row.hidden = !row.textContent.toLowerCase().includes(words);
        count += !row.hidden;
      }
      box.querySelector("output").textContent = count + " rows";
    });
  }
})();
