// Small repairs of the theme.

// From a folder, the search page cannot fetch other pages for excerpts; titles it finds all the same.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What it leaves out for readers who use a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);

  // The sidebar's logo stood outside every landmark.
  each(".bd-sidebar-primary", (sidebar) => {
    sidebar.setAttribute("role", "navigation");
    sidebar.setAttribute("aria-label", "Book");
  });
  each("summary:has(.toctree-toggle)", (toggle) => {
    const page = toggle.closest("li").querySelector("a").textContent.trim();
    toggle.setAttribute("aria-label", `Sections of ${page}`);
  });
  // Its visible words name it better than the label did.
  each("details.hide > summary", (toggle) => toggle.removeAttribute("aria-label"));
  // Citations were announced as lists without items, in a role that ARIA has withdrawn.
  each(".citation-list", (list) => list.removeAttribute("role"));
  each(".citation[role]", (citation) => citation.removeAttribute("role"));

  // A picture that scrolls sideways on a narrow screen is reached by keyboard, one that a slider brings in too.
  let asked = 0;
  const reach = () => {
    asked = 0;
    each(".surm-figure", (figure) => {
      if (figure.scrollWidth > figure.clientWidth) figure.setAttribute("tabindex", "0");
      else figure.removeAttribute("tabindex");
    });
  };
  const later = () => (asked ||= requestAnimationFrame(reach));
  reach();
  addEventListener("load", reach);
  addEventListener("resize", later);
  new MutationObserver(later).observe(document.body, { childList: true, subtree: true });
});
