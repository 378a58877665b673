// Tabs of the gallery, and the place in the contents list. Without scripts everything is shown, on paper what was chosen.
for (const tabs of document.querySelectorAll(".tabs")) {
  const buttons = [...tabs.querySelectorAll("button")];
  const show = (chosen) => {
    for (const button of buttons) {
      const on = button === chosen;
      button.setAttribute("aria-pressed", on);
      document.getElementById(button.dataset.show).classList.toggle("hidden", !on);
    }
  };
  for (const button of buttons) button.addEventListener("click", () => show(button));
  if (buttons.length) show(buttons[0]);
}
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.getAttribute("href").slice(1), a]));
const seen = new Set();
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target);
  const top = [...seen].sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)[0];
  if (top) for (const [name, link] of links) link.classList.toggle("here", name === top.id);
}, { rootMargin: "-10% 0px -60% 0px" });
for (const section of document.querySelectorAll("section[id]")) watch.observe(section);
