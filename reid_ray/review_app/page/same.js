// Keys for the page on unknown animals, and both photos in one place. Without it all is done by its buttons.
"use strict";

const two = document.getElementById("two");
let shown = 0;

function flip() {
  two.classList.add("flipped");
  two.querySelectorAll("figure").forEach((figure, place) => { figure.hidden = place !== shown; });
  shown = 1 - shown;
}

if (two) {
  const button = document.getElementById("flip");
  button.hidden = false;
  button.addEventListener("click", flip);
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const pressed = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]:not(:disabled)`);
  if (!pressed) return;
  event.preventDefault();
  pressed.click();
});
