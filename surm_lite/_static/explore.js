// The player of surm_lite.explore: swaps precomputed frames when a slider or button moves. No dependencies, no network;
// a classic script, because modules do not load from file://.
(() => {
  "use strict";
  if (window.surmPlayer) return; // a notebook carries one with every explorable
  window.surmPlayer = true;
  const tables = new WeakMap();

  const unpack = async (script) => {
    if (script.dataset.packing === "json") return JSON.parse(script.textContent);
    const bytes = Uint8Array.from(atob(script.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  };

  const framesOf = (form) => {
    if (!tables.has(form)) tables.set(form, unpack(form.querySelector("script")));
    return tables.get(form);
  };

  // Mixed radix, the last control running fastest: the order of Explorable.points.
  const position = (form) =>
    [...form.querySelectorAll("[data-size]")].reduce((index, control) => {
      const chosen = control.querySelector("input[type=range], input:checked");
      return index * Number(control.dataset.size) + Number(chosen.value);
    }, 0);

  const show = async (form) => {
    for (const range of form.querySelectorAll("input[type=range]")) {
      const text = JSON.parse(range.dataset.shown)[range.value];
      range.setAttribute("aria-valuetext", text);
      range.closest("[data-size]").querySelector("output").textContent = text;
    }
    const frames = await framesOf(form);
    form.dataset.position = position(form);
    const view = form.querySelector(".surm-view");
    view.innerHTML = frames[form.dataset.position];
    if (view.scrollHeight > parseFloat(view.style.minHeight || 0)) view.style.minHeight = `${view.offsetHeight}px`;
    const numbers = [...form.querySelectorAll(".surm-view dl > div")].map((pair) => pair.innerText.replace(/\s+/g, " "));
    form.querySelector(".surm-status").textContent = numbers.join(", ");
  };

  // Room for the tallest frame, so that nothing below jumps while a slider moves. A ruler measures what the reader will see.
  const reserve = async (form) => {
    const frames = await framesOf(form);
    const view = form.querySelector(".surm-view");
    const ruler = document.createElement("div");
    ruler.className = "surm-view";
    ruler.style.cssText = `position: absolute; visibility: hidden; width: ${view.clientWidth}px`;
    ruler.setAttribute("aria-hidden", "true");
    form.append(ruler);
    let tallest = 0;
    for (const frame of frames) {
      ruler.innerHTML = frame;
      tallest = Math.max(tallest, ruler.offsetHeight);
    }
    ruler.remove();
    view.style.minHeight = `${tallest}px`;
  };

  document.addEventListener("DOMContentLoaded", () => {
    const widths = new WeakMap();
    const resized = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (widths.get(target) !== target.clientWidth) reserve(target);
        widths.set(target, target.clientWidth);
      }
    });
    // Not all at once: a form is measured when it is about to come into view.
    const near = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          if (!isIntersecting) continue;
          near.unobserve(target);
          resized.observe(target);
        }
      },
      { rootMargin: "100% 0px" },
    );
    document.querySelectorAll("form.surm-explore").forEach((form) => near.observe(form));
  });

  const formOf = (event) => event.target.closest?.("form.surm-explore");

  document.addEventListener("input", (event) => {
    const form = formOf(event);
    if (form) show(form);
  });
  // JupyterLab takes arrow keys before they reach a slider; those of ours keep theirs.
  window.addEventListener(
    "keydown",
    (event) => {
      if (formOf(event) && /^(Arrow|Home|End|Page)/.test(event.key)) event.stopPropagation();
    },
    true,
  );
  document.addEventListener("submit", (event) => {
    if (formOf(event)) event.preventDefault();
  });
})();
