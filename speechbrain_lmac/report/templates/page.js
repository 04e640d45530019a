"use strict";
// The page works without this script; it adds cursors, filters and orders.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const remembered = "lmac-report-theme";
  try {
    const theme = localStorage.getItem(remembered);
    if (theme) root.dataset.theme = theme;
  } catch { /* storage is switched off: the system's theme it is */ }

  const all = (selector, inside = document) =>
    [...inside.querySelectorAll(selector)];

  // --- one sound at a time, and a cursor that moves with it ---

  let sounding = null;

  const seconds = (audio) =>
    Number.isFinite(audio.duration) && audio.duration > 0
      ? audio.duration
      : Number(audio.dataset.seconds);

  const place = (audio) => {
    const share = Math.min(audio.currentTime / seconds(audio), 1);
    for (const cursor of all(".cursor", audio.closest(".clip")))
      cursor.style.left = `${100 * share}%`;
  };

  const follow = () => {
    if (!sounding) return;
    place(sounding);
    if (!sounding.paused) requestAnimationFrame(follow);
  };

  const attend = (audio) => {
    for (const item of all(".current, .sounding"))
      item.classList.remove("current", "sounding");
    audio.closest(".clip").classList.add("current");
    audio.closest(".sound").classList.add("sounding");
    sounding = audio;
  };

  // Media events do not bubble: they are caught on their way down.
  document.addEventListener("play", (event) => {
    for (const audio of all("audio"))
      if (audio !== event.target && !audio.paused) audio.pause();
    attend(event.target);
    follow();
  }, true);
  for (const name of ["seeking", "timeupdate", "ended"])
    document.addEventListener(name, (event) => {
      if (event.target === sounding) place(sounding);
    }, true);

  const playFrom = (event) => {
    const view = event.target.closest(".sound .view");
    if (!view) return;
    const audio = view.closest(".sound").querySelector("audio");
    const box = view.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    audio.currentTime = Math.min(Math.max(share, 0), 1) * seconds(audio);
    audio.play().catch(() => {});
  };

  // --- filters and orders ---

  const worth = (clip, judge, key) => {
    const method = all(".method", clip).find(
      (item) => judge === null || item.dataset.method === judge);
    if (!method) return NaN;
    const { p, in: kept, out } = method.dataset;
    return key === "drop" ? p - kept : Number(key === "in" ? kept : out);
  };

  const sorted = (clips, order, judge) => {
    const sign = order.endsWith("-") ? -1 : 1;
    const key = order.replace("-", "");
    const keys = new Map(clips.map((clip) => {
      if (!key) return [clip, Number(clip.dataset.number)];
      const value = sign * worth(clip, judge, key);
      return [clip, Number.isNaN(value) ? Infinity : value];
    }));
    return [...clips].sort((a, b) =>
      keys.get(a) === keys.get(b)
        ? a.dataset.number - b.dataset.number
        : keys.get(a) - keys.get(b));
  };

  const apply = (form, clips) => {
    const data = new FormData(form);
    const methods = new Set(data.getAll("method"));
    const chosen = form.elements.method ? methods : null;
    const fits = (clip) => ["condition", "class", "decision"].every((name) => {
      const value = data.get(name);
      return value === null || value === "*" || value === clip.dataset[name];
    });
    for (const clip of clips) {
      clip.hidden = !fits(clip);
      for (const item of all(".method", clip))
        item.hidden = chosen !== null && !chosen.has(item.dataset.method);
      for (const box of all(".others", clip))
        box.hidden = all(".method", box).every((item) => item.hidden);
    }
    const order = data.get("order") || "";
    const parent = clips[0].parentNode;
    parent.append(...sorted(clips, order, data.get("judge")));
    if (sounding && sounding.closest("[hidden]")) sounding.pause();
    const shown = clips.filter((clip) => !clip.hidden).length;
    document.getElementById("count").textContent =
      `${shown} of ${clips.length} clips` +
      (shown ? "" : ": none fits, choose less");
  };

  // --- tables that are wider than the screen say so ---

  const watchWidths = () => {
    const observer = new ResizeObserver(() => {
      for (const box of all(".scroll"))
        box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
    });
    for (const box of all(".scroll")) observer.observe(box);
  };

  // --- dark and light ---

  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;

  const nameTheme = (button) => {
    button.textContent = isDark() ? "Light page" : "Dark page";
  };

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    nameTheme(button);
    matchMedia("(prefers-color-scheme: dark)")
      .addEventListener("change", () => nameTheme(button));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem(remembered, root.dataset.theme);
      } catch { /* it is not remembered, then */ }
      nameTheme(button);
    });
    document.addEventListener("click", playFrom);
    watchWidths();
    const form = document.getElementById("filters");
    const clips = all(".clip");
    if (!form || !clips.length) return;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => apply(form, clips));
    apply(form, clips);
  });
})();
