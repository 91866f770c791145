// Twins light up together, and boxes that scroll can be reached by keyboard.
"use strict";

const twinsOf = (name) => document.querySelectorAll(`[data-twin="${CSS.escape(name)}"]`);

let lit = null;

function light(name) {
  if (name === lit) return;
  if (lit !== null) for (const element of twinsOf(lit)) element.classList.remove("lit");
  if (name !== null) for (const element of twinsOf(name)) element.classList.add("lit");
  lit = name;
}

function follow(event) {
  const element = event.target.closest?.("[data-twin]");
  light(element ? element.dataset.twin : null);
}

document.addEventListener("pointerover", follow);
document.addEventListener("focusin", follow);
document.addEventListener("pointerleave", () => light(null));

// Only what does scroll is worth a stop of the tab key.
function reach(element) {
  const scrolls =
    element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight;
  if (scrolls) {
    element.tabIndex = 0;
    // A group, not a region: a page would have too many landmarks.
    if (!element.hasAttribute("role")) element.setAttribute("role", "group");
  } else {
    element.removeAttribute("tabindex");
  }
}

const boxes = document.querySelectorAll("pre, .scroll");
const observer = new ResizeObserver((entries) => {
  for (const entry of entries) reach(entry.target);
});
for (const box of boxes) observer.observe(box);

// The menu closes when the reader leaves it or presses Escape.
for (const menu of document.querySelectorAll("details.menu")) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  });
}
