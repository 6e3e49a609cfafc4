// Draws the figures of a page from their specs, without eval, and again when they have changed.

const LIBRARY = "/static/figures.lib.js";
const PAUSE_MS = 2500;
const SHARE = 4; // drawing may take a fifth of the time, however slow the machine is
const LONGEST_PAUSE_MS = 20000; // or one slow drawing leaves the end of a study unseen for minutes
const dark = matchMedia("(prefers-color-scheme: dark)");
const shown = new Map();
const loadOnce = () => import(LIBRARY).then(() => window.vegaEmbed);
let library = null;
let busy = false;
let again = false;
let leaving = new AbortController();

/** Draw all figures that have changed, one after the other. */
async function drawAll() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  let began = performance.now();
  try {
    const embed = await (library ??= loadOnce());
    began = performance.now(); // loading is done once: no reason to draw seldom
    const figures = [...document.querySelectorAll("[data-figure]")];
    const specs = await Promise.all(figures.map(ask)); // together, so that all show the same log
    for (const [i, figure] of figures.entries()) await draw(embed, figure, specs[i]);
  } catch (error) {
    library = null;
    if (leaving.signal.aborted) return;
    if (/fetch|load failed/i.test(error.message)) return; // the connection: the banner says so
    document.querySelectorAll("[data-figure]").forEach((figure) => complain(figure, error.message));
  } finally {
    setTimeout(() => {
      busy = false;
      if (again) drawAll();
    }, Math.min(LONGEST_PAUSE_MS, Math.max(PAUSE_MS, SHARE * (performance.now() - began))));
  }
}

async function ask(figure) {
  const width = Math.max(240, Math.floor(figure.clientWidth - 2));
  const query = `?width=${width}&dark=${dark.matches ? 1 : 0}`;
  const headers = { Accept: "application/json" };
  const before = shown.get(figure);
  if (before?.query === query) headers["If-None-Match"] = before.version;
  const response = await fetch(figure.dataset.figure + query, { headers, signal: leaving.signal });
  if (response.ok) return { query, version: response.headers.get("ETag") ?? "", text: await response.text() };
  if (response.status >= 400 && response.status < 500) complain(figure, (await response.json()).error.message);
  return null;
}

async function draw(embed, figure, asked) {
  if (asked === null) return; // nothing new
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
document.addEventListener("evolvent:changed", drawAll);
// Another page comes, and who signs out may be refused what is asked for meanwhile.
document.addEventListener("submit", (event) => event.target.matches("form[data-table]") || leaving.abort());
addEventListener("pageshow", (event) => event.persisted && (leaving = new AbortController()));
addEventListener("scroll", () => (tip.hidden = true), { passive: true });
keepPlaces();
drawAll();
