"use strict";
(() => {
// What build.py knows, and the marks of this browser.
const study = JSON.parse(document.getElementById("study").textContent);
const prefix = `listening-test/${study.study}/`;
const [lowest, highest] = study.ratings;
const items = new Map(study.items.map(item => [item.item, item]));
const main = document.getElementById("main");
const invited = new URLSearchParams(location.search).get("participant");
let state = null;

// --- The same numbers as blinding.py -------------------------------------

function randomNumbers(text) {
  let s = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text))
    s = Math.imul(s ^ byte, 0x01000193);
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function presentationOrder(item, codes) {
  const values = [...codes].sort();
  const next = randomNumbers(
    `${study.study}/${study.seed}/${state.participant}/${item}`);
  for (let last = values.length - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1));
    [values[last], values[other]] = [values[other], values[last]];
  }
  return values;
}

function reveal(concealed, stimulus) {
  const next = randomNumbers(`${study.study}/${stimulus}`);
  const bytes = concealed.slice(1).match(/../g).map(
    pair => parseInt(pair, 16) ^ Math.floor(next() * 256));
  return new TextDecoder().decode(new Uint8Array(bytes)).replace(/\0+$/, "");
}

const itemOrder = () => presentationOrder("", study.items.map(i => i.item));
const stimuliOf =
  item => presentationOrder(item.item, Object.keys(item.stimuli));

// --- What the browser keeps ----------------------------------------------

function stored(key) {
  try {
    return localStorage.getItem(prefix + key);
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    if (value === null) localStorage.removeItem(prefix + key);
    else localStorage.setItem(prefix + key, value);
  } catch {
    alertUser("This browser keeps nothing (private window, or storage is off "
      + "or full): do not reload or close the page before you have saved "
      + "your answers.");
  }
}

let since = performance.now();

function save() {
  if (!state) return;
  const now = performance.now(), item = currentItem();
  if (item)
    state.seconds[item.item] = (state.seconds[item.item] || 0)
      + (now - since) / 1000;
  since = now;
  keep(`participant/${state.participant}`, JSON.stringify(state));
  keep("active", state.participant);
}

function begin(participant) {
  state = {
    participant, stage: "loudness", index: 0,
    ratings: {}, plays: {}, heard: {}, seconds: {},
  };
  try {
    Object.assign(state, JSON.parse(stored(`participant/${participant}`)));
  } catch {
    alertUser("What this browser had kept of an earlier test is damaged; "
      + "the test begins anew.");
  }
  since = performance.now();
  save();
  show();
}

function currentItem() {
  if (state && state.stage === "training") return study.training[0];
  if (!state || state.stage !== "items") return null;
  return items.get(itemOrder()[state.index]);
}

// --- Pieces of the page ----------------------------------------------------

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function alertUser(text) {
  const box = document.getElementById("alert");
  box.textContent = text;
  box.hidden = !text;
}

function say(text) {
  document.getElementById("status").textContent = text;
}

// --- Playing ---------------------------------------------------------------

let players = new Map(), playing = null;

function stop() {
  if (!playing) return;
  playing.audio.pause();
  playing.button.classList.remove("on");
  playing.text.textContent = "Play";
  playing.bar.style.width = "0";
  playing = null;
}

// `mark`: under which name it is kept that the sound was heard.
function addPlayer(code, name, key, mark = code) {
  const audio = new Audio(`sounds/${code}.flac`);
  audio.preload = "auto";
  const text = el("span", {}, "Play"), bar = el("i");
  const heard = el("span", {class: "heard", hidden: !state.heard[mark]},
    "✓ heard");
  const player = {audio, text, bar, heard, mark, name};
  player.button = el("button", {
    type: "button", class: "play", "data-code": code,
    "aria-keyshortcuts": key, onclick: () => toggle(player),
  }, text, el("span", {class: "unseen"}, ` ${name}`), bar);
  audio.addEventListener("timeupdate", () => {
    if (playing === player)
      bar.style.width = `${100 * audio.currentTime / audio.duration}%`;
  });
  audio.addEventListener("ended", () => {
    state.heard[mark] = true;
    heard.hidden = false;
    if (playing === player) stop();
    changed();
  });
  audio.addEventListener("error", () => alertUser(
    `The sound of ${name} could not be loaded. Check that the folder `
    + "“sounds” lies beside this page, and reload it."));
  players.set(key, player);
  return player;
}

async function toggle(player) {
  const again = playing === player;
  stop();
  if (again) return;
  playing = player;
  player.text.textContent = "Stop";
  player.audio.currentTime = 0;
  try {
    await player.audio.play();
    state.plays[player.mark] = (state.plays[player.mark] || 0) + 1;
    save();
  } catch (error) {
    // Stopped before it began: no mistake.
    if (error.name === "AbortError") return;
    stop();
    alertUser(`The sound of ${player.name} cannot be played here (`
      + `${error.name}). Try another browser.`);
  }
}

// --- Screens ---------------------------------------------------------------

function screen(...children) {
  stop();
  players = new Map();
  main.replaceChildren(...children.flat());
}

function show() {
  const screens = {loudness, training, items: rating, end};
  showProgress();
  (state ? screens[state.stage] : welcome)();
  window.scrollTo(0, 0);
  main.focus({preventScroll: true});
}

function showProgress() {
  const box = document.getElementById("progress");
  box.hidden = !state;
  if (!state) return;
  const n = study.items.length, done = {items: state.index, end: n};
  const bar = document.getElementById("bar");
  bar.max = n;
  bar.value = done[state.stage] || 0;
  document.getElementById("where").textContent = {
    loudness: "Loudness", training: "Practice",
    items: `Item ${state.index + 1} of ${n}`, end: "Done",
  }[state.stage];
}

function advance() {
  stop();
  save();
  const after = {
    loudness: study.training.length ? "training" : "items", training: "items",
  };
  if (state.stage !== "items") state.stage = after[state.stage];
  else if (++state.index >= study.items.length) state.stage = "end";
  since = performance.now();
  save();
  show();
}

function welcome() {
  const field = el("input", {
    type: "text", id: "participant", maxlength: "32", autocomplete: "off",
    autocapitalize: "none", spellcheck: "false", value: invited || "",
    "aria-describedby": "hint",
  });
  const start = event => {
    event.preventDefault();
    const code = field.value.trim().toLowerCase() || randomCode();
    if (/^[a-z0-9][a-z0-9_-]{0,31}$/.test(code)) {
      alertUser("");
      begin(code);
    } else {
      alertUser("A code begins with a letter or digit and has at most 32 "
        + "letters (a to z), digits, “-” and “_”.");
      field.focus();
    }
  };
  screen(instructions(), el("form", {class: "card", onsubmit: start},
    el("label", {class: "block", for: "participant"}, "Your code"), field,
    el("p", {class: "quiet", id: "hint"}, "The code that you were given; "
      + "leave it empty to get one. Do not enter your name. To go on "
      + "with a test begun in this browser, enter its code again."),
    el("p", {}, el("button", {class: "main"}, "Start"))));
}

function instructions() {
  const list = texts => texts.map(text => el("li", {}, text));
  const most = Math.max(...study.items.map(i => Object.keys(i.stimuli).length));
  return el("section", {class: "card"},
    el("h2", {}, "What you will do"),
    el("p", {}, "A program has listened to short recordings and named what "
      + "it hears. Several methods try to let you hear which part of a "
      + "recording made it decide: their explanations. You judge them."),
    el("ol", {}, ...list([
      "Use headphones in a quiet place if you can.",
      "Play the input, then every explanation, each to its end; as often as "
        + "you like.",
      `Answer ${study.questions.length} questions about every explanation `
        + `with a slider from ${lowest} to ${highest}. Use the whole scale, `
        + "and compare the explanations of an item with each other. They may "
        + "be alike. A dashed slider has no answer yet: click or drag it.",
    ])),
    el("p", {}, `There are ${study.items.length} items with up to ${most} `
      + `explanations; it takes about ${study.minutes} minutes. You may stop `
      + "and go on later in this browser."),
    el("ul", {}, ...study.questions.map(q => el("li", {}, q.text))),
    el("p", {}, "The given class is what the program says that it hears."),
    el("p", {class: "quiet"}, "Keys: ", el("kbd", {}, "0"),
      " plays the input, ", el("kbd", {}, "1"), " to ", el("kbd", {}, "9"),
      " the explanations, ", el("kbd", {}, "Esc"), " stops; ",
      el("kbd", {}, "Tab"), " goes to the sliders and the arrow keys move "
      + "them."),
    el("p", {class: "quiet"}, "Your answers, how often you play each sound "
      + "and the seconds that an item takes stay in this browser until you "
      + "save them as a file. Nothing is sent, and nothing says who you are."));
}

function randomCode() {
  const bytes = crypto.getRandomValues(new Uint8Array(5));
  return "p" + [...bytes].map(b => b.toString(16).padStart(2, "0")).join("");
}

function loudness() {
  const first = study.training[0] || items.get(itemOrder()[0]);
  screen();
  const player = addPlayer(first.input, "the sound", "0", "loudness");
  main.append(
    el("section", {class: "card"}, el("h2", {}, "Set the loudness"),
      el("p", {}, "Play this sound and set your device so that it is loud "
        + "and comfortable. Do not change it afterwards."),
      el("div", {class: "row"}, player.button, player.heard)),
    foot("It is comfortable", false));
  changed();
}

function training() {
  rating();
  main.prepend(el("p", {class: "card"}, el("b", {}, "Practice. "),
    "Try everything out: the answers to this item do not count."));
}

function rating() {
  const item = currentItem();
  screen();
  const input = addPlayer(item.input, "the input", "0");
  const cards = stimuliOf(item).map(
    (code, k) => stimulusCard(code, k + 1, item));
  main.append(
    el("section", {class: "card", "data-code": item.input},
      el("h2", {}, "The input"),
      el("p", {}, "The program hears: ",
        el("span", {class: "label"}, shown(item.label))),
      el("div", {class: "row"}, input.button, input.heard)),
    ...cards, foot("Next", true));
  changed();
}

// Class names of data sets often have underscores.
const shown = label => label.replaceAll("_", " ");

function stimulusCard(code, position, item) {
  const name = `Explanation ${position}`;
  const player = addPlayer(code, name.toLowerCase(), String(position));
  return el("section", {class: "card", "data-code": code,
    "aria-label": name},
    el("div", {class: "row"},
      el("h3", {}, `${name} of “${shown(item.label)}”`),
      player.heard,
      player.button),
    el("div", {class: "pair"},
      ...study.questions.map(q => slider(code, q, position))));
}

function slider(code, question, position) {
  const id = `${question.code}-${position}`;
  const given = (state.ratings[code] || {})[question.code];
  const output = el("output", {for: id}, given ?? "–");
  const input = el("input", {
    type: "range", id, min: lowest, max: highest, step: 1,
    value: given ?? Math.round((lowest + highest) / 2),
    class: given === undefined ? "open" : "", "data-question": question.code,
    "aria-label": `${question.text} Explanation ${position}, ${lowest}: `
      + `${question.low}, ${highest}: ${question.high}`,
  });
  if (given === undefined)
    input.setAttribute("aria-valuetext", "no answer yet");
  const answer = () => {
    (state.ratings[code] ||= {})[question.code] = Number(input.value);
    output.textContent = input.value;
    input.classList.remove("open");
    input.removeAttribute("aria-valuetext");
    save();
    changed();
  };
  input.addEventListener("input", answer);
  // A click on the very middle moves nothing and is an answer all the same.
  input.addEventListener("click", answer);
  return el("fieldset", {}, el("legend", {}, question.text),
    el("div", {class: "slide"}, input, output,
      el("div", {class: "ends", "aria-hidden": "true"},
        el("span", {}, `${lowest}: ${question.low}`),
        el("span", {}, `${highest}: ${question.high}`))));
}

function foot(text, withCopy) {
  const button = el("button", {type: "button", class: "main", id: "next",
    onclick: goOn}, text);
  const copy = el("button", {type: "button", id: "copy",
    onclick: () => download(false)}, "Save a copy so far");
  return el("div", {class: "foot"}, el("p", {id: "done", class: "quiet"}),
    el("p", {id: "todo", class: "alert", role: "alert", hidden: true}),
    el("div", {class: "row"}, button, withCopy ? copy : ""));
}

// What is missing on this screen: [code, words, where the focus goes].
function missing() {
  const todo = [];
  for (const player of players.values())
    if (!state.heard[player.mark])
      todo.push([player.mark, `play ${player.name} to its end`, player.button]);
  for (const input of main.querySelectorAll("input.open")) {
    const card = input.closest("[data-code]");
    const number = input.id.split("-").pop();
    todo.push([card.dataset.code,
      `answer for explanation ${number} (${input.dataset.question})`, input]);
  }
  return todo;
}

function changed() {
  if (!document.getElementById("done")) return;
  const todo = missing(), sliders = main.querySelectorAll("input[type=range]");
  const open = main.querySelectorAll("input.open").length;
  const heard = [...players.values()].filter(p => state.heard[p.mark]).length;
  document.getElementById("done").textContent =
    `Heard ${heard} of ${players.size}`
    + (sliders.length
      ? `, answered ${sliders.length - open} of ${sliders.length}` : "");
  if (!document.getElementById("todo").hidden) mark(todo);
  save();
}

function mark(todo) {
  const codes = new Set(todo.map(([code]) => code));
  for (const card of main.querySelectorAll("section[data-code]"))
    card.classList.toggle("missing", codes.has(card.dataset.code));
  const box = document.getElementById("todo");
  box.hidden = !todo.length;
  const more = todo.length > 3 ? ` and ${todo.length - 3} more` : "";
  box.textContent = "Still to do: "
    + todo.slice(0, 3).map(([, words]) => words).join("; ") + more + ".";
}

function goOn() {
  const todo = missing();
  if (!todo.length) return advance();
  document.getElementById("todo").hidden = false;
  mark(todo);
  todo[0][2].focus();
}

function end() {
  screen(
    el("section", {class: "card"}, el("h2", {}, "Thank you"),
      el("p", {}, "Save your answers as a file and send it to whoever asked "
        + "you to take part."),
      el("p", {}, el("button", {type: "button", class: "main", id: "download",
        onclick: () => download(true)}, "Save the answers")),
      el("p", {class: "quiet"}, `Your code: ${state.participant}. The answers `
        + "stay in this browser, too: with this code they can be saved again."
      )),
    el("p", {}, el("button", {type: "button", id: "another",
      onclick: another}, "Another participant")));
}

function another() {
  keep("active", null);
  state = null;
  show();
}

// --- The file --------------------------------------------------------------

function rows(finished) {
  const all = [];
  itemOrder().forEach((code, k) => {
    const item = items.get(code);
    stimuliOf(item).forEach((stimulus, position) => {
      for (const [question, value] of
        Object.entries(state.ratings[stimulus] || {}))
        all.push({
          study: study.study, seed: study.seed,
          participant: state.participant, item: code, clip: item.clip,
          condition: item.condition, label: item.label,
          item_position: k + 1, stimulus,
          // Nothing is given away before the end.
          method: finished ? reveal(item.stimuli[stimulus], stimulus)
            : item.stimuli[stimulus],
          question, rating: value, position: position + 1,
          plays: state.plays[stimulus] || 0,
          input_plays: state.plays[item.input] || 0,
          seconds: (state.seconds[code] || 0).toFixed(1),
        });
    });
  });
  return all;
}

const COLUMNS = ["study", "seed", "participant", "item", "clip", "condition",
  "label", "item_position", "stimulus", "method", "question", "rating",
  "position", "plays", "input_plays", "seconds"];

function download(finished) {
  save();
  const quote = value => /[",\r\n]/.test(value)
    ? `"${String(value).replaceAll('"', '""')}"` : value;
  const lines = rows(finished).map(
    row => COLUMNS.map(name => quote(row[name])).join(","));
  const text = [COLUMNS.join(","), ...lines, ""].join("\r\n");
  const url = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  const name = `${study.study}_${state.participant}`;
  const link = el("a", {href: url,
    download: finished ? `${name}.csv` : `${name}_partial.csv`});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  say("The file is saved.");
}

// --- Start -----------------------------------------------------------------

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=text]")) return;
  if (event.key === "Escape") stop();
  const player = players.get(event.key);
  if (player && !event.repeat) {
    event.preventDefault();
    toggle(player);
  }
});
// The clock of an item runs while the page is in sight.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) save();
  else since = performance.now();
});
window.addEventListener("pagehide", () => document.hidden || save());

document.getElementById("title").textContent = study.title;
const active = stored("active");
// A link for someone else does not go on with the test of the last listener.
const someoneElse = invited && invited.trim().toLowerCase() !== active;
if (active && stored(`participant/${active}`) && !someoneElse) begin(active);
else show();
})();
