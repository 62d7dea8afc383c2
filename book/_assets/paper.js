// Printing a page: light colours, folds open, solutions after everything else; afterwards as it was.
(() => {
  "use strict";
  let undo = [];

  const keep = (change, back) => {
    change();
    undo.push(back);
  };

  addEventListener("beforeprint", () => {
    const root = document.documentElement, article = document.querySelector(".bd-article"), theme = root.dataset.theme;
    if (!article || undo.length) return;
    keep(() => (root.dataset.theme = "light"), () => (root.dataset.theme = theme));
    for (const fold of article.querySelectorAll("details:not([open])")) {
      keep(() => (fold.open = true), () => (fold.open = false));
    }
    const solutions = [...article.querySelectorAll("div.solution")];
    if (!solutions.length) return;
    const end = document.createElement("section");
    end.className = "book-solutions";
    end.innerHTML = "<h2>Solutions</h2>";
    keep(() => article.append(end), () => end.remove());
    for (const solution of solutions) {
      const place = document.createComment("solution");
      keep(
        () => (solution.replaceWith(place), end.append(solution)),
        () => place.replaceWith(solution),
      );
    }
  });
  addEventListener("afterprint", () => {
    undo.reverse().forEach((back) => back());
    undo = [];
  });
})();
