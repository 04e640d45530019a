// Players, marks and class buttons of the live page; of one part of it each.
const all = (selector, inside = element) =>
  [...inside.querySelectorAll(selector)];
const current = () => element.querySelector(".cards")?.dataset.clip;
let clip = current();
let sounding = null;
let at = null; // seconds, while it plays
let boxes = [];

// --- sounds: one at a time, a cursor that moves, and the same place kept ---

const seconds = (audio) =>
  Number.isFinite(audio.duration) && audio.duration > 0
    ? audio.duration
    : Number(audio.dataset.seconds);

const place = () => {
  if (!sounding) return;
  const share = Math.min(sounding.currentTime / seconds(sounding), 1);
  const card = sounding.closest(".card");
  for (const cursor of card ? all(".cursor", card) : [])
    cursor.style.left = `${100 * share}%`;
  if (sounding.paused) return;
  at = sounding.currentTime;
  requestAnimationFrame(place);
};

const mark = (audio) =>
  audio.closest(".sound").classList.toggle(
    "sounding", !audio.paused && !audio.ended);

const play = (audio, time) => {
  if (time !== undefined) audio.currentTime = time;
  sounding = audio;
  audio.play().catch(() => {});
};

const toggle = (audio) => {
  if (!audio.paused) return audio.pause();
  const other = all("audio").find((one) => !one.paused);
  play(audio, other ? other.currentTime : undefined);
};

// Media events do not bubble: they are caught on their way down.
document.addEventListener("play", (event) => {
  for (const audio of all("audio"))
    if (audio !== event.target) audio.pause();
}, true);
for (const name of ["play", "pause", "ended", "seeking", "emptied"])
  element.addEventListener(name, (event) => {
    const audio = event.target;
    if (audio === sounding && ["pause", "ended"].includes(name)) at = null;
    // The sound was made anew while it played.
    if (audio === sounding && name === "emptied" && at !== null)
      play(audio, at);
    mark(audio);
    place();
  }, true);

// --- marks on the first picture, as shares of time and frequency ---

const share = (event, view) => {
  const box = view.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width;
  const y = 1 - (event.clientY - box.top) / box.height;
  return [x, y].map((value) => Math.min(Math.max(value, 0), 1));
};

const between = (from, to) => [
  Math.min(from[0], to[0]), Math.max(from[0], to[0]),
  Math.min(from[1], to[1]), Math.max(from[1], to[1]),
];

const draw = (drawn) => {
  const view = element.querySelector(".marks");
  if (!view) return;
  for (const old of all(".box", view)) old.remove();
  for (const [begin, end, low, high] of drawn) {
    const box = document.createElement("i");
    box.className = "box";
    box.style.cssText = `left:${100 * begin}%;right:${100 * (1 - end)}%;` +
      `bottom:${100 * low}%;top:${100 * (1 - high)}%`;
    view.append(box);
  }
  for (const button of all("[data-brush]")) button.disabled = !drawn.length;
  const { top, seconds: length } = view.dataset;
  element.querySelector(".marked").textContent = drawn.map(
    ([begin, end, low, high]) =>
      `${(begin * length).toFixed(2)} to ${(end * length).toFixed(2)} s` +
      (top ? `, ${Math.round(low * top)} to ${Math.round(high * top)} Hz` : "")
  ).join("; ");
};

element.addEventListener("pointerdown", (event) => {
  const view = event.target.closest(".view");
  if (!view || event.button) return;
  event.preventDefault();
  view.setPointerCapture(event.pointerId);
  const from = share(event, view);
  let moved = false;
  const move = (later) => {
    moved ||= view.matches(".marks") &&
      Math.hypot(later.clientX - event.clientX,
        later.clientY - event.clientY) > 6;
    if (moved) draw([...boxes, between(from, share(later, view))]);
  };
  const up = (last) => {
    view.removeEventListener("pointermove", move);
    if (moved) {
      boxes.push(between(from, share(last, view)));
      return draw(boxes);
    }
    const card = view.closest(".card");
    const audio = sounding && card.contains(sounding)
      ? sounding
      : card.querySelector("[data-kind=explanation] ~ audio");
    play(audio, from[0] * seconds(audio));
  };
  view.addEventListener("pointermove", move);
  view.addEventListener("pointerup", up, { once: true });
});

// --- what the server is asked for ---

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { kind, at, brush } = button.dataset;
  if (kind) toggle(button.parentNode.querySelector("audio"));
  else if (at) {
    const card = button.closest(".card");
    play(card.querySelector("[data-kind=explanation] ~ audio"), Number(at));
  } else if (brush === "clear") {
    boxes = [];
    draw(boxes);
  } else if (brush) trigger("brush", { action: brush, boxes });
  else if ("class" in button.dataset)
    trigger("choose", { label: button.dataset.class });
});

// The page is drawn anew in place: attributes change, what we added goes.
watch("value", () => {
  if (current() !== clip) {
    clip = current();
    boxes = [];
    at = null;
  }
  draw(boxes);
  all("audio").forEach(mark);
  place();
});
