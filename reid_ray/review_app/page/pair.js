// Show one photo beside one candidate: side by side, flipped in place, zoomed, with matched points.
"use strict";

function pair() {
  const [one, other] = [card(), shown()];
  const picture = other && (row ?? other.row);
  if (look === "points" && !other?.points) look = "pair";
  $("stage").dataset.look = look;
  $("asked").hidden = look === "points" || (look === "flip" && side !== "asked");
  $("candidate").hidden = look === "points" || (look === "flip" && side !== "candidate");
  $("points").hidden = look !== "points";
  const count = one.paths.length;
  view("asked", photo(one, 1400, shot), "Photo to be named", [make("b", {}, count > 1 ? `Photo ${shot + 1} of ${count}` : "Photo"),
    file(path()), ...facts(one.each[shot]), ...asked(), said(one) ? make("b", {}, "Decided: ", name(words(said(one)))) : ""],
  inCard(one, shot ? `more-${shot - 1}` : "asked"));
  $("shot").hidden = count < 2;
  const source = picture !== null && picture !== undefined ? `known/${picture}?px=1400`
    : other?.picture ? inCard(one, `candidate-${which}`) : null;
  const chosen = row === null ? null : (all.animals[other.identity] ?? []).find((known) => known.row === row);
  view("candidate", source, "Most alike photo of the candidate", other ? [make("b", {}, name(other.identity)),
    percent(other.probability), file((chosen ?? other).path), ...facts((chosen ?? other).facts)]
    : ["No candidate"], other?.picture ? inCard(one, `candidate-${which}`) : null);
  if (look === "points") view("points", inCard(one, `points-${which}`),
    `Photo and candidate side by side, ${other.matches} matched points joined by lines`,
    [make("b", {}, `${many(other.matches, "matched point")} with `, name(other.identity)), name(other.note)]);
  $("accept").disabled = !other;
  $("accept").firstElementChild.replaceChildren("It is ", name(other ? other.identity : "…"));
  $("next").disabled = one.candidates.length < 2;
  $("match").disabled = !other?.points;
  $("photos").disabled = !(all.animals[other?.identity] ?? []).length;
  const together = sameEncounter().length;
  $("encounter").hidden = together < 2;
  $("encounter").firstChild.textContent = `All ${together} of its encounter `;
  $("beside").setAttribute("aria-pressed", look === "pair");
  $("flip").setAttribute("aria-pressed", look === "flip");
  $("match").setAttribute("aria-pressed", look === "points");
  strip();
  album();
  zoomed();
  outline();
  ahead();
}

const facts = (of) => Object.entries(of).filter(([fact]) => fact !== "species").map(([, value]) => name(value));

function view(id, source, alt, caption, less = null) {
  const image = $(id).querySelector("img");
  image.onerror = less ? () => { image.onerror = null; image.src = less; } : null;
  if (image.dataset.from !== (source ?? "")) {
    image.dataset.from = source ?? "";
    if (source) image.setAttribute("src", source);
    else image.removeAttribute("src");
  }
  image.alt = source ? alt : "";
  $(id).querySelector("figcaption").replaceChildren(...caption.filter((part) => part !== ""));
}

function strip() {
  const focused = $("strip").contains(document.activeElement);
  $("strip").replaceChildren(...card().candidates.map((one, place) => make("li", {}, make("button", {
    type: "button", "aria-current": String(place === which), on: () => choose(place) },
    one.picture ? make("img", { src: inCard(card(), `candidate-${place}`), alt: "" }) : "",
    make("span", {}, make("b", {}, name(one.identity)), make("br"), percent(one.probability))))));
  if (focused) $("strip").querySelector("[aria-current=true]")?.focus();
}

function album() {
  const open = $("photos").getAttribute("aria-pressed") === "true";
  $("album").hidden = !open;
  if (!open || !shown()) return;
  $("album").replaceChildren(...(all.animals[shown().identity] ?? []).map((known) => make("li", {}, make("button", {
    type: "button", on: () => { row = known.row; pair(); } },
    make("img", { src: `known/${known.row}?px=300`, alt: "", loading: "lazy" }), file(known.path)))));
}

let ready = [];  // pictures of the next photos, held so that the browser keeps them

function ahead() {
  const next = all.cards.slice(at + 1).filter((one) => !said(one)).slice(0, 2);
  const sources = next.flatMap((one) => [
    photo(one, 1400), ...(one.candidates.length && one.candidates[0].row !== null ? [`known/${one.candidates[0].row}?px=1400`] : [])]);
  ready = sources.map((source) => {
    const old = ready.find((one) => one.getAttribute("src") === source);
    return old ?? make("img", { src: source });
  });
}

function choose(place) {
  if (!card().candidates.length) return;
  which = (place + card().candidates.length) % card().candidates.length;
  row = null;
  pair();
}

function zoomed() {
  for (const image of document.querySelectorAll(".glass img, .glass .layer")) {
    image.style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${zoom.k})`;
  }
}

function closer(by) {
  const k = Math.min(16, Math.max(1, zoom.k * by));
  zoom = k === 1 ? { k, x: 0, y: 0 } : { k, x: (zoom.x * k) / zoom.k, y: (zoom.y * k) / zoom.k };
  // Close up, the original's own pixels are shown.
  if (k > 2) {
    sharpen("asked", photo(card(), 0, shot));
    if (shown() && (row ?? shown().row) !== null) sharpen("candidate", `known/${row ?? shown().row}`);
  }
  zoomed();
}

function sharpen(id, source) {
  const image = $(id).querySelector("img");
  if (image.getAttribute("src") !== source) image.setAttribute("src", source);
}

function pan(x, y) {
  if (zoom.k > 1) zoom = { ...zoom, x: zoom.x + x, y: zoom.y + y };
  zoomed();
}

function nextShot() {
  shot = (shot + 1) % card().paths.length;
  pair();
}

function flip() {
  [look, side] = ["flip", look === "flip" && side === "candidate" ? "asked" : "candidate"];
  pair();
}

function beside() {
  look = "pair";
  pair();
}

function matched() {
  look = look === "points" ? "pair" : "points";
  pair();
}

function photosOf() {
  const button = $("photos");
  if (button.disabled) return;
  button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
  album();
}

function originals() {
  window.open(photo(card(), 0, shot), "_blank", "noopener");
  if (shown() && (row ?? shown().row) !== null) window.open(`known/${row ?? shown().row}`, "_blank", "noopener");
}
