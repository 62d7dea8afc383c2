// The definition of a word, on hover and on focus (terms.py put it at the end of the page). Escape closes it.
document.addEventListener("DOMContentLoaded", () => {
  const tipOf = (link) => {
    const name = [...(link?.classList ?? [])].find((word) => word.startsWith("tip-"));
    return name && document.getElementById(name);
  };
  const links = document.querySelectorAll("a.book-term");
  if (!links.length) return;
  for (const link of links) {
    link.setAttribute("aria-describedby", tipOf(link).id);
    if (!link.title) continue;
    link.setAttribute("aria-label", link.title); // the name of a formula, without the browser's own bubble
    link.removeAttribute("title");
  }

  const bubble = document.createElement("div");
  bubble.className = "book-bubble";
  bubble.setAttribute("aria-hidden", "true"); // read to others by aria-describedby
  bubble.hidden = true;
  document.querySelector("article.bd-article").append(bubble);
  let shown = null;
  let leaving = 0;

  const hide = () => {
    bubble.hidden = true;
    shown = null;
  };
  const show = (link) => {
    clearTimeout(leaving);
    if (shown === link) return;
    shown = link;
    bubble.innerHTML = tipOf(link).innerHTML;
    bubble.hidden = false;
    const word = link.getClientRects()[0];
    const box = bubble.parentElement.getBoundingClientRect();
    const left = Math.min(word.left, document.documentElement.clientWidth - bubble.offsetWidth - 8);
    const below = word.bottom + 6;
    const above = word.top - bubble.offsetHeight - 6;
    bubble.style.left = `${Math.max(left, 8) - box.left}px`;
    bubble.style.top = `${(below + bubble.offsetHeight > innerHeight && above > 0 ? above : below) - box.top}px`;
  };
  const over = (event) => event.target.closest?.("a.book-term, .book-bubble");

  document.addEventListener("mouseover", (event) => {
    const thing = over(event);
    clearTimeout(leaving);
    if (thing?.matches("a")) show(thing);
    else if (!thing && shown) leaving = setTimeout(hide, 250); // time to move onto it
  });
  document.addEventListener("focusin", (event) => (over(event)?.matches("a") ? show(over(event)) : hide()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  // A finger cannot hover: the first touch shows, the second follows the link.
  document.addEventListener("click", (event) => {
    const link = over(event);
    if (event.pointerType === "touch" && link?.matches("a") && !link.dataset.touched) {
      event.preventDefault();
      show(link);
      link.dataset.touched = "yes";
    } else if (!link) hide();
  });
});
