// What the page knows, and decisions on their way to the server: read first, then pair.js and decide.js.
// All decisions go to the server at once, one after another; until it has them they are also kept here.
"use strict";

const $ = (id) => document.getElementById(id);
const BATCH = location.pathname.split("/")[2];
const UNSENT = `reid_ray unsent ${BATCH} `;
const KEPT = { unsent: UNSENT + Date.now() + Math.random(), undo: `reid_ray undo ${BATCH}`, keys: "reid_ray keys" };
const STEP_BACK = 200;  // decisions that can be undone
const AGAIN_MS = 2000;
const LABELS = { species: "Species", orientation: "Viewpoint", location: "Location", encounter: "Encounter" };

let all = null;  // what the server told: cards, animals, decisions, names, revision
let unsent = [];  // [{decided, revision}], the earliest first
let undone = [];  // what held before each decision of this tab: [{before, boxes, place}]
let at = -1;  // place in all.cards of the photo that is shown
let shot = 0;  // of its photos, where several of an encounter are asked together
let which = 0;  // of its candidates
let row = null;  // of the candidate's photo that is shown, where another was chosen
let look = "pair";  // pair, flip or points
let side = "candidate";  // of flip
let zoom = { k: 1, x: 0, y: 0 };
let grid = false;
let sending = false;

function make(tag, given = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "on") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...inside);
  return made;
}

// Names of files and animals come from elsewhere: direction marks inside them must not reorder the page.
const name = (text) => make("bdi", {}, text);
const file = (path) => make("bdi", { title: path }, path.split("/").pop());
const percent = (p) => (p === null ? "" : p < 0.01 ? "under 1 %" : p > 0.99 ? "over 99 %" : `${Math.round(100 * p)} %`);
const kept = (store, key, other) => { try { return JSON.parse(store.getItem(key)) ?? other; } catch { return other; } };
const keep = (store, key, value) => { try { store.setItem(key, JSON.stringify(value)); } catch { /* full or forbidden */ } };
const card = () => all.cards[at];
const shown = () => card().candidates[which];
const said = (one) => one.paths.map((path) => all.decisions[path] ?? "").find((what) => what) ?? "";
const words = (what) => (what === "unknown" ? "nobody known" : what.slice(3));
const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const path = () => card().paths[shot];
const inCard = (one, what) => `cards/${one.card}/${what}?v=${all.version}`;
const photo = (one, px = 0, of = 0) => (one.there ? `sent/${encodeURIComponent(one.paths[of])}${px ? `?px=${px}` : ""}`
  : inCard(one, of ? `more-${of - 1}` : "asked"));

function save(decided, { undo = true, boxes = {} } = {}) {
  const [before, drawn] = [{}, {}];
  for (const path of Object.keys(decided)) before[path] = all.decisions[path] ?? "";
  for (const path of Object.keys(boxes)) drawn[path] = all.boxes[path] ?? [];
  if (undo) {
    undone = [...undone, { before, boxes: drawn, place: at }].slice(-STEP_BACK);
    keep(sessionStorage, KEPT.undo, undone);
  }
  apply({ decided, boxes });
  unsent.push({ decided, boxes, revision: all.revision });
  keep(localStorage, KEPT.unsent, unsent);
  send();
}

function apply({ decided, boxes = {} }) {
  for (const [held, given] of [[all.decisions, decided], [all.boxes, boxes]]) {
    for (const [path, what] of Object.entries(given)) {
      if (what.length) held[path] = what;
      else delete held[path];
    }
  }
  progress();
}

async function send() {
  if (sending || !unsent.length) return;
  sending = true;
  try {
    while (unsent.length) {
      const [first] = unsent;
      const answer = await fetch("decide", {
        method: "POST", body: JSON.stringify(first), headers: { "Content-Type": "application/json" },
      });
      if (answer.status === 400) alerted("refused", `Not saved: ${(await answer.json()).detail}`);
      else if (!answer.ok) throw new Error(`the server answers: ${(await answer.text()).slice(0, 300)}`);
      else take(await answer.json(), first);
      unsent.shift();
      keep(localStorage, KEPT.unsent, unsent);
    }
    alerted("unsent", "");
  } catch (error) {
    alerted("unsent", `${many(unsent.length, "decision")} not saved yet (${error.message}). They are kept in this ` +
      "browser and sent again by themselves; start the server again if it has ended.");
    setTimeout(send, AGAIN_MS);
  } finally {
    sending = false;
  }
}

function take(state, done) {
  // What was decided later on the same photos follows from this tab's own decision, so it is no conflict.
  for (const later of unsent.slice(1)) {
    if ([...Object.keys(later.decided), ...Object.keys(later.boxes ?? {})].some((path) => path in done.decided ||
      path in (done.boxes ?? {}))) later.revision = state.revision;
  }
  for (const [path, what] of Object.entries(state.refused ?? {})) {
    if (!(path in done.decided)) alerted(`refused ${path}`, `${path}: another page drew a region meanwhile, so yours was not saved. Draw again if it is wrong.`);
    else alerted(`refused ${path}`, `${path}: another page saved ${what ? words(what) : "no decision"} meanwhile, so ` +
      `“${done.decided[path] ? words(done.decided[path]) : "no decision"}” was not saved. Decide again if it is wrong.`);
  }
  renew(state);
}

function renew(state) {
  const changed = "version" in state && state.version !== all.version;
  all = { ...all, ...state };
  for (const later of unsent.slice(1)) apply(later);
  for (const problem of state.problems) alerted(problem, problem);
  $("names").replaceChildren(...all.names.map((one) => make("option", { value: one })));
  progress();
  if (changed) answers();
  else if (at >= 0 && !grid && !$("one").hidden && !region) pair();
  clearTimeout(waits);
  if (Object.values(all.regions).some((one) => one === "waiting" || one === "running")) waits = setTimeout(lookAgain, 1000);
}

let waits = 0;

async function lookAgain() {
  const now = await fetch("state.json").catch(() => null);
  if (now?.ok && !unsent.length) renew(await now.json());
  else waits = setTimeout(lookAgain, 1000);
}

// Other answers, as a region was drawn or taken back; photos keep their order, so that none is met twice.
async function answers() {
  const answer = await fetch("photos.json").catch(() => null);
  if (!answer?.ok) return;
  const told = await answer.json();
  const order = all.cards.map((one) => one.card);
  const number = at < 0 ? null : card().card;
  told.cards.sort((a, b) => order.indexOf(a.card) - order.indexOf(b.card));
  all = { ...all, cards: told.cards, animals: told.animals };
  if (number !== null) [which, row] = [0, null];
  if (grid) tiles();
  else if (at >= 0 && !$("one").hidden) pair();
}

// What this page, before a reload, or a page that was closed could not send. Sent twice it changes nothing.
function leftUnsent() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(UNSENT));
  const left = keys.flatMap((key) => kept(localStorage, key, []));
  keep(localStorage, KEPT.unsent, left);
  for (const key of keys) localStorage.removeItem(key);
  return left;
}

function alerted(key, text) {
  const old = [...$("alerts").children].find((one) => one.dataset.key === key);
  if (old) old.remove();
  if (!text) return;
  const made = make("p", {}, name(text));
  made.dataset.key = key;
  $("alerts").append(made);
}

function undo() {
  const last = undone.pop();
  if (!last) return;
  keep(sessionStorage, KEPT.undo, undone);
  save(last.before, { undo: false, boxes: last.boxes });
  if (grid) tiles();
  else if (last.place >= 0) go(last.place);
}

const decideCard = (what) => save(Object.fromEntries(card().paths.map((path) => [path, what])));

function accept() {
  if (!shown()) return naming();
  decideCard(`is:${shown().identity}`);
  later();
}

function acceptEncounter() {
  const others = sameEncounter();
  if (!shown() || !others.length) return;
  save(Object.fromEntries(others.flatMap((one) => one.paths).map((path) => [path, `is:${shown().identity}`])));
  later();
}

const sameEncounter = () => (card().facts.encounter
  ? all.cards.filter((one) => one === card() || (one.facts.encounter === card().facts.encounter && !said(one)))
  : []);

function above() {
  const least = Number($("least").value) / 100;
  return all.cards.filter((one) => passes(one, "open") && one.identity !== null && one.probability >= least);
}

function acceptMany() {
  const taken = above();
  if (!taken.length) return;
  save(Object.fromEntries(
    taken.flatMap((one) => one.paths.map((path) => [path, `is:${one.candidates[0].identity}`]))));
  alerted("many", `${many(taken.length, "answer")} accepted; Undo takes all of them back.`);
  if (grid) tiles();
  else later();
}
