// Keeps a page as new as its study: asks for the page again, and puts in what has changed.
import { announce } from "./announce.js";
import { watchEdges } from "./edges.js";
import { current, restoreForm, swap } from "./swap.js";

const EVERY_MS = 2000;
const PATIENCE_MS = 15000;
const LONGEST_PAUSE_MS = 15000;

const auto = document.getElementById("auto");
const dropped = document.getElementById("dropped");
let version = "";
let failures = 0;
let timer = 0;
let turn = 0;
let asking = new AbortController();
let since = new Date();

const place = () => location.pathname + location.search;
let shown = place();

/** Ask for a page; put it in unless something newer has been asked for meanwhile. */
async function refresh(address = location.href, always = false, back = false) {
  clearTimeout(timer);
  const mine = ++turn;
  asking = new AbortController();
  try {
    const response = await fetch(clean(address), {
      headers: version && !always ? { "If-None-Match": version } : {},
      signal: AbortSignal.any([asking.signal, AbortSignal.timeout(PATIENCE_MS)]),
    });
    if (mine !== turn) return;
    await take(response, back);
  } catch (error) {
    if (mine === turn) lost(error);
  }
  if (mine === turn) later();
}

async function take(response, back) {
  if (response.status === 401) {
    say("You are signed out.", "Sign in again");
    auto.checked = false;
    return;
  }
  if (response.status >= 500) throw new Error(`the service answers ${response.status}`);
  found();
  if (response.status === 304) return;
  if (!response.ok) {
    say(response.status === 404 ? "This is not there any more." : `The service answers ${response.status}.`, "Reload");
    auto.checked = false;
    return;
  }
  const html = await response.text();
  version = response.headers.get("ETag") ?? "";
  const next = new DOMParser().parseFromString(html, "text/html");
  const before = current();
  const { changed, whole } = swap(next);
  if (!whole) version = ""; // what is being selected is put in the next time
  const over = before.state !== current().state;
  if (changed) document.dispatchEvent(new CustomEvent("evolvent:changed", { detail: { over } }));
  if (back) restoreForm(next);
  watchEdges();
  announce(before, current());
}

function clean(address) {
  const url = new URL(address, location.href);
  url.hash = "";
  url.searchParams.delete("done");
  return url.href;
}

function later() {
  clearTimeout(timer);
  if (!auto?.checked || document.hidden) return;
  timer = setTimeout(refresh, failures ? Math.min(EVERY_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS) : EVERY_MS);
}

function lost() {
  failures += 1;
  const at = since.toLocaleTimeString([], { hourCycle: "h23" });
  say(`Connection lost: what you see is from ${at}. Trying again…`, failures > 1 ? "Try now" : "");
}

function found() {
  since = new Date();
  failures = 0;
  if (!dropped.hidden) {
    dropped.hidden = true;
    dropped.replaceChildren();
    announce(null, { now: "Connected again." });
  }
}

function say(words, button) {
  if (dropped.dataset.words === words + button && !dropped.hidden) return;
  dropped.dataset.words = words + button;
  dropped.replaceChildren(document.createTextNode(words + " "));
  if (button) {
    const press = document.createElement("button");
    press.textContent = button;
    press.addEventListener("click", () => (button === "Try now" ? refresh() : location.reload()));
    dropped.append(press);
  }
  dropped.hidden = false;
}

/** Sort, search and turn pages without leaving the page. */
async function go(address, back = false) {
  if (!back) history.pushState(null, "", address);
  shown = place();
  const jobs = document.getElementById("jobs"); // stays where it is, however few are found
  if (jobs) jobs.style.minHeight = `${Math.min(jobs.offsetHeight, innerHeight)}px`;
  document.getElementById("table")?.setAttribute("aria-busy", "true");
  await refresh(address, true, back);
  document.getElementById("table")?.removeAttribute("aria-busy");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-table]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(link.href);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches("form[data-table]")) {
    clearTimeout(timer); // another page comes, perhaps one that is signed out
    turn += 1;
    asking.abort();
    return;
  }
  event.preventDefault();
  const url = new URL(form.action);
  const wanted = new FormData(form);
  url.search = new URLSearchParams([...wanted].filter(([, value]) => value !== "")).toString();
  form.querySelector("details")?.removeAttribute("open");
  go(url.href);
});
document.addEventListener("change", (event) => {
  if (event.target.id === "in-state") event.target.form.requestSubmit();
});
addEventListener("popstate", () => {
  if (place() !== shown) go(location.href, true); // as by the skip link, nothing is new otherwise
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : auto?.checked && refresh()));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = event.target.closest?.("details[open]");
  if (!open) return;
  open.removeAttribute("open");
  open.querySelector("summary").focus();
});

if (auto) {
  auto.closest("label").hidden = false;
  auto.checked = localStorage.getItem("evolvent.auto") !== "off";
  auto.addEventListener("change", () => {
    localStorage.setItem("evolvent.auto", auto.checked ? "on" : "off");
    if (auto.checked) refresh();
    else clearTimeout(timer);
  });
  later();
}
