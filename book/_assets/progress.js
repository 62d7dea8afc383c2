// Ticks for finished checks, and the way back to where one was. All of it lies in surmMemory (quiz.js): on this machine.
document.addEventListener("DOMContentLoaded", () => {
  const memory = window.surmMemory;
  const here = memory.page(location);
  const contents = [...document.querySelectorAll(".bd-links a[href]")];
  const chapters = contents.filter((link) => /^part\d/.test(memory.page(link)));

  const wayBack = document.createElement("p");
  wayBack.className = "book-way-back";
  if (here === "index.html") document.querySelector(".book-lead")?.after(wayBack);

  const show = () => {
    const { checked = {}, answers = {}, place } = memory.read();
    for (const link of document.querySelectorAll(".bd-links a[href], .book-map li > a:first-of-type")) {
      link.classList.toggle("book-checked", Boolean(checked[memory.page(link)]));
    }
    wayBack.replaceChildren();
    wayBack.hidden = !place && !Object.keys(answers).length;
    if (wayBack.hidden) return;
    if (place) {
      const link = document.createElement("a");
      link.href = place.page + place.hash;
      link.textContent = `Go on where you were: ${place.title}`;
      wayBack.append(link);
    }
    const done = chapters.filter((link) => checked[memory.page(link)]).length;
    const forget = document.createElement("button");
    forget.type = "button";
    forget.textContent = "Forget my answers";
    forget.addEventListener("click", memory.forget);
    const count = document.createElement("span");
    count.textContent = `${done} of ${chapters.length} checks finished. `;
    wayBack.append(count, forget);
  };

  // The last section whose heading has been reached.
  const remember = () => {
    const chapter = chapters.find((link) => memory.page(link) === here);
    if (!chapter) return;
    const sections = [...document.querySelectorAll("article section[id] > h2")].map((heading) => heading.parentElement);
    const reached = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 2).pop();
    memory.write("place", { page: here, hash: reached ? `#${reached.id}` : "", title: chapter.textContent.trim() });
  };

  show();
  document.addEventListener("surm-memory", show);
  addEventListener("storage", show); // another tab
  addEventListener("pageshow", show);
  addEventListener("pagehide", remember);
  document.addEventListener("visibilitychange", () => document.hidden && remember());
});
