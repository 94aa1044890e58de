// Draw the region that shows the animal, by pointer, touch or keys, and ask again with it.
"use strict";

let region = null;  // while one is drawn: [x, y, width, height] in shares of the photo's sides
let corner = null;  // where the pointer went down
const STEP = 0.02;
const LEAST = 0.04;

const drawnOn = (path) => all.boxes[path];
const clamp = (value, most = 1) => Math.min(Math.max(value, 0), most);

function draw() {
  if (grid || at < 0) return;
  look = "pair";
  region = [...(drawnOn(path()) ?? [0.25, 0.25, 0.5, 0.5])];
  pair();
  $("ask-region").focus();
}

function stopDrawing() {
  region = corner = null;
  $("decide").focus();
  pair();
}

function askRegion() {
  if (!region) return;
  save({}, { boxes: { [path()]: region } });
  stopDrawing();
}

function wholePhoto() {
  if (drawnOn(path())) save({}, { boxes: { [path()]: [] } });
  stopDrawing();
}

async function regionAgain() {
  const answer = await fetch(`regions/again?path=${encodeURIComponent(card().path)}`, { method: "POST" });
  if (answer.ok) renew(await answer.json());
}

// Where the photo lies within its frame, which keeps its shape: [left, top, width, height] in px.
function photoIn(glass) {
  const image = glass.querySelector("img");
  const scale = Math.min(glass.clientWidth / image.naturalWidth, glass.clientHeight / image.naturalHeight);
  const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
  return [(glass.clientWidth - width) / 2, (glass.clientHeight - height) / 2, width, height];
}

function shareAt(event) {
  const glass = $("asked").querySelector(".glass");
  const edge = glass.getBoundingClientRect();
  const [left, top, width, height] = photoIn(glass);
  const back = (at, start, size, moved) => (at - start - size / 2 - moved) / zoom.k + size / 2;
  return [clamp((back(event.clientX, edge.left, edge.width, zoom.x) - left) / width),
    clamp((back(event.clientY, edge.top, edge.height, zoom.y) - top) / height)];
}

function regionFrom(event) {
  if (!region) return false;
  if (event.type === "pointerdown") corner = shareAt(event);
  else if (corner && event.buttons) {
    const [x, y] = shareAt(event);
    region = [Math.min(x, corner[0]), Math.min(y, corner[1]), Math.abs(x - corner[0]), Math.abs(y - corner[1])];
    outline();
  }
  return true;
}

const REGION_KEYS = { Enter: askRegion, Escape: stopDrawing, Delete: wholePhoto, Backspace: wholePhoto };

function regionKey(event) {
  const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
  if (dx || dy) {
    const [x, y, width, height] = region;
    region = event.shiftKey
      ? [x, y, Math.min(Math.max(width + dx, LEAST), 1 - x), Math.min(Math.max(height + dy, LEAST), 1 - y)]
      : [clamp(x + dx, 1 - width), clamp(y + dy, 1 - height), width, height];
    outline();
  } else if (event.key === "Enter" && event.target.matches("#drawing button")) return false;
  else if (Object.hasOwn(REGION_KEYS, event.key)) REGION_KEYS[event.key]();
  else return false;
  return true;
}

function outline() {
  const glass = $("asked").querySelector(".glass");
  const frame = glass.querySelector(".region");
  const box = region ?? drawnOn(path());
  const image = glass.querySelector("img");
  $("drawing").hidden = !region;
  $("whole-photo").hidden = !drawnOn(path());
  $("draw").setAttribute("aria-pressed", String(Boolean(region)));
  glass.classList.toggle("draws", Boolean(region));
  frame.hidden = !box?.length || !image.naturalWidth;
  if (frame.hidden) return;
  const [left, top, width, height] = photoIn(glass);
  Object.assign(frame.style, { left: `${left + box[0] * width}px`, top: `${top + box[1] * height}px`,
    width: `${box[2] * width}px`, height: `${box[3] * height}px` });
}

// What has become of the region: said beside the photo.
function asked() {
  const state = all.regions[card().path];
  if (!state) return [];
  if (state === "done") return [make("b", { class: "good" }, "Answered with the region you drew")];
  if (state.startsWith("failed")) {
    return [make("b", { class: "bad" }, "The region was not answered: ", name(state.slice(8))),
      make("button", { type: "button", class: "plain", on: regionAgain }, "Try again")];
  }
  return [make("b", {}, state === "running" ? "Asking with the region you drew …" : "The region waits for its turn …")];
}
