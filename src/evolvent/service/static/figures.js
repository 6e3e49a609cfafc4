// Draws the figures of a page from their specs, without eval, and again when they have changed.

const LIBRARY = "/static/figures.lib.js";
const PAUSE_MS = 2500;
const dark = matchMedia("(prefers-color-scheme: dark)");
const shown = new Map();
let library = null;
let busy = false;
let again = false;

async function load() {
  library ??= import(LIBRARY).then(() => window.vegaEmbed);
  return library;
}

/** Draw all figures that have changed, one after the other. */
async function drawAll() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  again = false;
  try {
    const embed = await load();
    for (const figure of document.querySelectorAll("[data-figure]")) await draw(embed, figure);
  } catch (error) {
    library = null;
    complain(error);
  }
  setTimeout(() => {
    busy = false;
    if (again) drawAll();
  }, PAUSE_MS);
}

async function draw(embed, figure) {
  const box = figure.querySelector(".drawn");
  const width = Math.max(240, Math.floor(figure.clientWidth - 2));
  const response = await fetch(`${figure.dataset.figure}?width=${width}&dark=${dark.matches ? 1 : 0}`, {
    headers: { Accept: "application/json" },
  });
  if (!response.ok) return;
  const text = await response.text();
  if (shown.get(figure)?.text === text) return;
  const spec = JSON.parse(text);
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
      tooltip: hint,
    });
    shown.get(figure)?.result.finalize();
    shown.set(figure, { text, result });
    place.classList.remove("next");
    box.replaceWith(place);
  } catch (error) {
    place.remove();
    throw error;
  }
}

function complain(error) {
  if (error instanceof TypeError) return; // the connection: the banner says so
  for (const box of document.querySelectorAll("[data-figure] .drawn p")) {
    box.textContent = `This figure could not be drawn: ${error.message}`;
  }
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
addEventListener("scroll", () => (tip.hidden = true), { passive: true });
drawAll();
