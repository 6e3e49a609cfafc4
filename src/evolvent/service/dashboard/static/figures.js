// Draws the figures of a page from their specs, without eval, and again when they have changed.

const LIBRARY = "/static/figures.lib.js";
const SHARE = 3; // the service may work on our figures for a quarter of the time, however long they take
const LONGEST_PAUSE_MS = 15000;
const AFTER_FAILURE_MS = 5000;
const dark = matchMedia("(prefers-color-scheme: dark)");
const shown = new Map();
const loadOnce = () => import(LIBRARY).then(() => window.vegaEmbed);
let library = null;
let busy = false;
let again = false;
let pausing = 0;
let leaving = new AbortController();

/** Draw all figures that have changed, one after the other; later if they were drawn just now. */
async function drawAll() {
  again = true;
  if (busy) return;
  busy = true;
  again = false;
  pausing = setTimeout(goOn, await drawOnce());
}

function goOn() {
  clearTimeout(pausing);
  pausing = 0;
  busy = false;
  if (again) drawAll();
}

/** Cut a pause short: somebody has come to look, or nothing newer will come. */
function hurry() {
  if (pausing) goOn();
}

/** Draw once; return how many milliseconds to let the service and the reader rest. */
async function drawOnce() {
  try {
    const embed = await (library ??= loadOnce());
    const figures = [...document.querySelectorAll("[data-figure]")];
    const specs = await Promise.all(figures.map(ask)); // together, so that all show the same log
    const began = performance.now();
    for (const [i, figure] of figures.entries()) await draw(embed, figure, specs[i]);
    const worked = specs.reduce((sum, { worked }) => sum + worked, 0);
    return Math.min(LONGEST_PAUSE_MS, Math.max(performance.now() - began, SHARE * worked));
  } catch (error) {
    library = null;
    if (leaving.signal.aborted) return 0;
    again = true; // or the end of a study would stay unseen for want of one answer
    // Of the connection the banner speaks.
    if (!/fetch|load failed|service/i.test(error.message))
      document.querySelectorAll("[data-figure]").forEach((figure) => complain(figure, error.message));
    return AFTER_FAILURE_MS;
  }
}

async function ask(figure) {
  const width = Math.max(240, Math.floor(figure.clientWidth - 2));
  const query = `?width=${width}&dark=${dark.matches ? 1 : 0}`;
  const headers = { Accept: "application/json" };
  const before = shown.get(figure);
  if (before?.query === query) headers["If-None-Match"] = before.version;
  const response = await fetch(figure.dataset.figure + query, { headers, signal: leaving.signal });
  if (response.status >= 500) throw new Error(`the service answers ${response.status}`);
  const worked = Number(response.headers.get("Server-Timing")?.split("dur=")[1] ?? 0);
  if (response.ok) return { query, worked, version: response.headers.get("ETag") ?? "", text: await response.text() };
  if (response.status >= 400) complain(figure, (await response.json()).error.message);
  return { worked };
}

async function draw(embed, figure, asked) {
  if (asked.text === undefined) return; // nothing new
  const box = figure.querySelector(".drawn");
  if (shown.get(figure)?.text === asked.text) return;
  const spec = JSON.parse(asked.text);
  const place = document.createElement("div");
  place.className = "drawn next";
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", spec.description ?? "");
  figure.append(place);
  try {
    const result = await embed(place, spec, {
      ast: true, // no eval: the policy of the page forbids it
      actions: false,
      defaultStyle: false,
      renderer: "svg",
      logLevel: 1, // errors only
      tooltip: hint,
    });
    const words = figure.querySelector(".words");
    if (words) words.textContent = spec.usermeta?.words ?? "";
    if (figure.id === "figure-scores") warn(spec.usermeta.warning ?? "");
    shown.get(figure)?.result.finalize();
    shown.set(figure, { ...asked, result });
    place.classList.remove("next");
    box.replaceWith(place);
    sessionStorage.setItem(placeOf(figure), figure.offsetHeight);
  } catch (error) {
    place.remove();
    throw error;
  }
}

/** Say what is wrong with the whole population, as a terminal does. */
function warn(text) {
  const note = document.getElementById("warning");
  note.hidden = !text;
  if (note.textContent !== text) note.textContent = text; // it is read out whenever it is set
}

const placeOf = (figure) => `evolvent.height ${innerWidth} ${figure.dataset.figure}`;

/** Keep the place that each figure took last time, so that nothing moves when it is drawn. */
function keepPlaces() {
  for (const figure of document.querySelectorAll("[data-figure]")) {
    const height = sessionStorage.getItem(placeOf(figure));
    if (height) figure.querySelector(".drawn").style.minHeight = `${height - figure.querySelector("figcaption").offsetHeight}px`;
  }
}

function complain(figure, message) {
  const words = figure.querySelector(".drawn > p");
  if (words) words.textContent = `This figure could not be drawn: ${message}`;
}

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

/** Show what a mark stands for; all of it as text. */
function hint(_handler, event, _item, value) {
  if (value == null || value === "") {
    tip.hidden = true;
    return;
  }
  tip.replaceChildren();
  const entries = typeof value === "object" ? Object.entries(value) : [["", value]];
  for (const [name, what] of entries) {
    const line = document.createElement("div");
    if (name) {
      const key = document.createElement("span");
      key.textContent = name;
      line.append(key);
    }
    line.append(String(what));
    tip.append(line);
  }
  tip.hidden = false;
  const { clientX: x, clientY: y } = event;
  tip.style.left = `${Math.min(x + 12, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(y + 12, innerHeight - tip.offsetHeight - 8)}px`;
}

let resized = 0;
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar
  width = innerWidth;
  clearTimeout(resized);
  resized = setTimeout(drawAll, 250);
});
dark.addEventListener("change", drawAll);
document.addEventListener("evolvent:changed", ({ detail }) => {
  drawAll();
  if (detail?.over) hurry();
});
document.addEventListener("visibilitychange", () => document.hidden || hurry());
// Another page comes, and who signs out may be refused what is asked for meanwhile.
document.addEventListener("submit", (event) => event.target.matches("form[data-table]") || leaving.abort());
addEventListener("pageshow", (event) => event.persisted && (leaving = new AbortController()));
addEventListener("scroll", () => (tip.hidden = true), { passive: true });
keepPlaces();
drawAll();
