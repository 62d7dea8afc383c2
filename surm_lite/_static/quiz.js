// Guesses and checks of surm_lite.quiz: the first choice is locked, marked and remembered on this machine only.
// A classic script, because modules do not load from file://.
(() => {
  "use strict";
  const KEY = "surm_lite.book";
  let unsaved = {}; // where nothing may be stored, what was answered lasts as long as the page

  const memory = {
    read() {
      try {
        return JSON.parse(localStorage.getItem(KEY)) ?? unsaved;
      } catch {
        return unsaved;
      }
    },
    // part: answers, checked, place. Read again first: another tab may have written.
    write(part, value) {
      unsaved = { ...memory.read(), [part]: value };
      try {
        localStorage.setItem(KEY, JSON.stringify(unsaved));
      } catch {} // a full or forbidden store
      document.dispatchEvent(new Event("surm-memory"));
    },
    // part1/01_low_rank.html, wherever the site lies
    page(address) {
      const root = new URL(document.documentElement.dataset.content_root, location).pathname;
      return address.pathname.slice(root.length) || "index.html";
    },
    forget() {
      unsaved = {};
      try {
        localStorage.removeItem(KEY);
      } catch {}
      document.dispatchEvent(new Event("surm-memory"));
    },
  };
  window.surmMemory = memory;

  const folds = (fieldset) => [...fieldset.querySelectorAll("details")];
  const isRight = (fieldset) => folds(fieldset)[fieldset.dataset.answered].classList.contains("surm-right");

  const mark = (fold, words) => {
    const note = document.createElement("span");
    note.className = "surm-mark";
    note.textContent = words;
    fold.querySelector("summary").append(" ", note);
  };

  const lock = (fieldset, index) => {
    fieldset.dataset.answered = index;
    folds(fieldset).forEach((fold, k) => {
      const right = fold.classList.contains("surm-right");
      fold.open = right || k === index;
      if (k === index) mark(fold, right ? "your choice, right" : "your choice");
      else if (right) mark(fold, "the answer");
    });
  };

  const count = (quiz) => {
    const asked = [...quiz.querySelectorAll("fieldset")];
    const answered = asked.filter((fieldset) => fieldset.dataset.answered);
    const score = quiz.querySelector(".surm-score");
    if (!score || !answered.length) return false;
    const right = answered.filter(isRight).length;
    const left = asked.length - answered.length;
    score.textContent = `${right} of ${answered.length} right${left ? `, ${left} to go` : "."}`;
    return !left;
  };

  document.addEventListener("click", (event) => {
    const fieldset = event.target.closest?.(".surm-quiz summary")?.closest("fieldset");
    if (!fieldset || fieldset.dataset.answered) return; // afterwards every fold may be opened and read
    event.preventDefault();
    const index = folds(fieldset).indexOf(event.target.closest("details"));
    lock(fieldset, index);
    const words = isRight(fieldset) ? "Right." : "Not this one. The answer and both reasons are open.";
    fieldset.querySelector(".surm-status").textContent = words;
    memory.write("answers", { ...memory.read().answers, [fieldset.dataset.key]: index });
    if (count(fieldset.closest(".surm-quiz"))) {
      memory.write("checked", { ...memory.read().checked, [memory.page(location)]: true });
    }
  });

  document.addEventListener("DOMContentLoaded", () => {
    const answers = memory.read().answers ?? {};
    for (const quiz of document.querySelectorAll(".surm-quiz")) {
      quiz.classList.add("surm-live");
      for (const fieldset of quiz.querySelectorAll("fieldset")) {
        const index = answers[fieldset.dataset.key];
        // A long page can be answered before it is whole: then it is marked already.
        if (folds(fieldset)[index] && !fieldset.dataset.answered) lock(fieldset, index);
      }
      count(quiz);
    }
  });
})();
