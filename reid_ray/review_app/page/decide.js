// Decide who is in the photos of a batch, one pair at a time or on a grid, by keys or by pointer.
"use strict";

// ---- which photos are shown ----

function passes(one, state = $("filters").querySelector("[name=state]").value) {
  const form = new FormData($("filters").querySelector("form"));
  const p = 100 * (one.probability ?? 0);
  if (p < Number(form.get("low")) || p > Number(form.get("high"))) return false;
  if (Object.keys(LABELS).some((fact) => form.get(fact) && form.get(fact) !== one.facts[fact])) return false;
  return state === "all" || (state === "open") === !said(one);
}

function filters() {
  $("facts").replaceChildren(...Object.entries(LABELS).flatMap(([fact, label]) => {
    const values = [...new Set(all.cards.map((one) => one.facts[fact]).filter(Boolean))].sort();
    if (values.length < 2) return [];
    const choices = values.map((value) => make("option", { value }, value));
    return [make("label", {}, `${label} `, make("select", { name: fact }, make("option", { value: "" }, "all"), ...choices))];
  }));
}

function progress() {
  const photos = all.cards.flatMap((one) => one.paths);
  const done = photos.filter((path) => all.decisions[path]).length;
  $("done").max = photos.length;
  $("done").value = done;
  $("count").textContent = `${done} of ${photos.length} decided`;
  $("undo").disabled = !undone.length;
  $("how-many").textContent = above().length;
  const left = all.cards.filter((one) => passes(one)).length;
  $("filtered").textContent = `${many(left, "answer")} shown`;
}

function go(place, { remember = true } = {}) {
  if (remember && place !== at) history.pushState({ place }, "", `#${all.cards[place].card + 1}`);
  at = place;
  [which, row, shot] = [0, null, 0];
  region = corner = null;
  side = "asked";
  zoom = { k: 1, x: 0, y: 0 };
  const index = card().candidates.findIndex((one) => `is:${one.identity}` === said(card()));
  if (index > 0) which = index;
  show();
}

function show() {
  $("end").hidden = true;
  $("grid").hidden = !grid;
  $("one").hidden = grid || at < 0;
  $("as-grid").setAttribute("aria-pressed", grid);
  if (grid) tiles();
  else if (at >= 0) pair();
}

function later(from = at) {
  const places = all.cards.map((_, place) => place);
  const order = [...places.slice(from + 1), ...places.slice(0, from + 1)];
  const state = $("filters").querySelector("[name=state]").value;
  const found = order.find((place) => place !== from && passes(all.cards[place], state === "closed" ? "closed" : "open"));
  if (found !== undefined) return go(found);
  if (from >= 0 && !said(all.cards[from]) && passes(all.cards[from], "open")) return go(from);
  return end();
}

function end() {
  $("one").hidden = $("grid").hidden = true;
  $("end").hidden = false;
  const open = all.cards.filter((one) => !said(one)).length;
  $("end-text").textContent = open ? `${many(open, "answer")} outside the filter wait to be decided.`
    : "All photos of this batch are decided.";
  $("end").querySelector("h2").focus();
}

function back() {
  if (history.state?.place !== undefined && at >= 0) history.back();
}


// ---- all at once ----

function tiles() {
  const places = all.cards.map((_, place) => place).filter((place) => passes(all.cards[place]));
  $("grid").replaceChildren(...places.map((place) => {
    const one = all.cards[place];
    const [first] = one.candidates;
    return make("li", {}, make("button", { type: "button", on: () => { grid = false; go(place); } },
      make("img", { src: inCard(one, "asked"), alt: "Photo", loading: "lazy" }),
      first?.picture ? make("img", { src: inCard(one, "candidate-0"), alt: "First candidate", loading: "lazy" }) : "",
      make("span", { class: "file", title: one.path }, name(one.path)),
      said(one) ? make("span", { class: "decided" }, "✓ ", name(words(said(one))))
        : make("span", {}, make("b", {}, name(first ? first.identity : "no candidate")), ` ${percent(one.probability)}`)));
  }));
}

function toggleGrid() {
  grid = !grid;
  if (!grid && (at < 0 || said(card()))) later();
  else show();
}


// ---- a name that is typed ----

let confirmed = null;  // a new name that the person was asked about

function naming() {
  confirmed = null;
  $("name").value = "";
  $("doubt").replaceChildren();
  $("hint").replaceChildren("A known name, or a new one. Empty: a new animal called ", name(fresh()), ".");
  $("take").textContent = "Take it";
  $("naming").showModal();
  $("name").focus();
}

function fresh() {
  const used = new Set(all.names.map((one) => one.toLowerCase()));
  let number = 1;
  while (used.has(`new-${number}`)) number += 1;
  return `new-${number}`;
}

function named(event) {
  event.preventDefault();
  const typed = $("name").value.trim().replace(/\s+/g, " ");
  const known = all.names.find((one) => one === typed) ??
    all.names.find((one) => one.toLowerCase() === typed.toLowerCase());
  if (!typed || known || confirmed === typed) return called(known ?? (typed || fresh()));
  confirmed = typed;
  const close = all.names.map((one) => [distance(one.toLowerCase(), typed.toLowerCase()), one])
    .filter(([far, one]) => far <= Math.max(2, one.length / 3)).sort((a, b) => a[0] - b[0]).slice(0, 3);
  $("doubt").replaceChildren("No animal is called “", name(typed), "”. ", ...(close.length ? ["Do you mean "] : []),
    ...close.flatMap(([, one]) => [make("button", { type: "button", class: "plain", on: () => called(one) }, name(one)), " "]),
    close.length ? "? " : "", "Enter once more makes it a new animal.");
  $("take").textContent = "Make it a new animal";
  return undefined;
}

function called(who) {
  $("naming").close();
  if (!all.names.includes(who)) all.names = [...all.names, who].sort();
  decideCard(`is:${who}`);
  later();
}

function distance(a, b) {
  let last = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i += 1) {
    const line = [i];
    for (let j = 1; j <= b.length; j += 1) {
      line[j] = Math.min(last[j] + 1, line[j - 1] + 1, last[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    last = line;
  }
  return last[b.length];
}


// ---- keys and pointer ----

const ONE = {
  Enter: accept, a: accept, ArrowRight: () => choose(which + 1), ArrowLeft: () => choose(which - 1),
  u: () => { decideCard("unknown"); later(); }, n: naming, e: acceptEncounter, b: back, Backspace: back,
  l: () => later(), f: flip, m: () => shown()?.points && matched(), p: photosOf, o: originals, s: beside, d: draw, t: nextShot,
  "+": () => closer(1.5), "=": () => closer(1.5), "-": () => closer(1 / 1.5), 0: () => closer(0),
};
const PANS = { ArrowRight: [-60, 0], ArrowLeft: [60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
const BUTTONS = {
  accept, next: ONE.ArrowRight, unknown: ONE.u, new: naming, encounter: acceptEncounter, back, skip: ONE.l, flip, beside,
  draw: () => (region ? stopDrawing() : draw()), "ask-region": askRegion, "whole-photo": wholePhoto, "stop-drawing": stopDrawing,
  shot: nextShot, match: matched, photos: photosOf, closer: ONE["+"], farther: ONE["-"], whole: ONE[0], originals, undo,
  "as-grid": toggleGrid, "accept-many": acceptMany, cancel: () => $("naming").close(),
  "see-all": () => { grid = true; $("filters").querySelector("[name=state]").value = "all"; progress(); show(); },
};

function pressed(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || $("naming").open) return;
  if (region && regionKey(event)) return event.preventDefault();
  if (!$("keys").checked) return;
  // A dialog that was just closed keeps the focus until the next frame.
  if (target.matches("input:not([type=checkbox]), select, textarea") && !target.closest("dialog")) return;
  // Enter and Space belong to what has the focus.
  if (key === "Enter" && !target.closest("dialog") && target.matches("a, button, summary, input")) return;
  const low = key.length === 1 ? key.toLowerCase() : key;
  if (low === "z") undo();
  else if (low === "g") toggleGrid();
  else if ($("one").hidden) return;
  else if (event.shiftKey && PANS[key]) pan(...PANS[key]);
  else if (/^[1-9]$/.test(key)) Number(key) <= card().candidates.length && choose(Number(key) - 1);
  else if (Object.hasOwn(ONE, low)) ONE[low]();
  else return;
  event.preventDefault();
}

function pointers() {
  for (const glass of document.querySelectorAll(".glass")) {
    glass.addEventListener("wheel", (event) => { event.preventDefault(); closer(event.deltaY < 0 ? 1.2 : 1 / 1.2); },
      { passive: false });
    const fingers = new Map();
    glass.addEventListener("pointerdown", (event) => {
      glass.setPointerCapture(event.pointerId);
      event.preventDefault();
      fingers.set(event.pointerId, event);
      if (fingers.size === 1) regionFrom(event);
    });
    glass.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const before = fingers.size === 2 ? apart(fingers) : 0;
      const last = fingers.get(event.pointerId);
      fingers.set(event.pointerId, event);
      if (before) closer(apart(fingers) / before);
      else if (!regionFrom(event)) pan(event.clientX - last.clientX, event.clientY - last.clientY);
    });
    for (const end of ["pointerup", "pointercancel"]) glass.addEventListener(end, (event) => fingers.delete(event.pointerId));
    glass.addEventListener("dblclick", () => region || closer(zoom.k > 1 ? 0 : 3));
    glass.querySelector("img").addEventListener("load", outline);
  }
  addEventListener("resize", outline);
}

function apart(fingers) {
  const [a, b] = fingers.values();
  return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
}

async function start() {
  const answer = await fetch("photos.json");
  if (!answer.ok) return alerted("start", `These photos cannot be shown: ${(await answer.text()).slice(0, 500)}`);
  all = await answer.json();
  undone = kept(sessionStorage, KEPT.undo, []);
  unsent = leftUnsent();
  for (const one of unsent) apply(one);
  filters();
  for (const why of all.refused) alerted(why, `Not taken: ${why}`);
  all.refused = {};
  renew({ problems: all.problems });
  for (const [id, act] of Object.entries(BUTTONS)) {
    // A pointer leaves the keys to the page; who works by keys keeps the button.
    $(id).addEventListener("click", (event) => { act(); if (event.detail && !$("naming").open) $("decide").focus(); });
  }
  $("keys").checked = kept(localStorage, KEPT.keys, true);
  $("keys").addEventListener("change", () => keep(localStorage, KEPT.keys, $("keys").checked));
  $("naming").querySelector("form").addEventListener("submit", named);
  const form = $("filters").querySelector("form");
  const refilter = () => { progress(); if (grid) tiles(); else if (at < 0 || !passes(card())) later(); };
  form.addEventListener("input", refilter);
  form.addEventListener("reset", () => setTimeout(refilter));
  form.addEventListener("submit", (event) => event.preventDefault());
  $("least").addEventListener("input", progress);
  $("naming").addEventListener("close", () => $("decide").focus());
  pointers();
  addEventListener("keydown", pressed);
  addEventListener("popstate", () => opened());
  addEventListener("focus", async () => { const now = await fetch("state.json"); if (now.ok && !unsent.length) renew(await now.json()); });
  opened();
  return send();
}

function opened() {
  const place = all.cards.findIndex((one) => `#${one.card + 1}` === location.hash);
  history.replaceState(place < 0 ? null : { place }, "");
  grid = false;
  if (place >= 0) go(place, { remember: false });
  else later(-1);
}

start();
