// Whoever has no finger and no mouse scrolls what is too wide with the arrow keys: it takes the focus while it is.
(() => {
  "use strict";
  const WIDE = ".bd-article :is(div.math, figure.surm-figure, .pst-scrollable-table-container, .cell_output .output)";

  const mark = () => {
    const boxes = [...document.querySelectorAll(WIDE)].map((box) => [box, box.scrollWidth > box.clientWidth + 1]);
    for (const [box, wide] of boxes) {
      if (wide === box.hasAttribute("tabindex")) continue;
      if (wide) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };

  let waiting;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(mark, 100);
  };

  addEventListener("load", () => {
    const frames = new MutationObserver(soon);
    document.querySelectorAll(".surm-view").forEach((view) => frames.observe(view, { childList: true }));
    mark();
    window.MathJax?.startup?.promise?.then(mark);
  });
  addEventListener("resize", soon);
})();
