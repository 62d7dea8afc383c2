// The player of surm_lite.explore: swaps precomputed frames when a slider or button moves. No dependencies, no network;
// a classic script, because modules do not load from file://.
(() => {
  "use strict";
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
      range.parentElement.querySelector("output").textContent = text;
    }
    const frames = await framesOf(form);
    form.dataset.position = position(form);
    form.querySelector(".surm-view").innerHTML = frames[form.dataset.position];
    const numbers = [...form.querySelectorAll(".surm-view dl > div")].map((pair) => pair.innerText.replace(/\s+/g, " "));
    form.querySelector(".surm-status").textContent = numbers.join(", ");
  };

  const formOf = (event) => event.target.closest?.("form.surm-explore");

  document.addEventListener("input", (event) => {
    const form = formOf(event);
    if (form) show(form);
  });
  document.addEventListener("submit", (event) => {
    if (formOf(event)) event.preventDefault();
  });
})();
