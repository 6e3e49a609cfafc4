// Puts the changed parts of a newer page into this one, and leaves the reader where they were.

const put = new WeakMap(); // what each part was when it came: since then boxes were scrolled, details opened
for (const part of document.querySelectorAll("[data-live]")) put.set(part, part.outerHTML);

/** What the page says about itself in one line. */
export function current() {
  const told = document.querySelector("[data-words]");
  return { now: told?.dataset.words ?? "", state: told?.dataset.state ?? "" };
}

/** Take over every live part; tell whether anything but the choice of jobs was different, and whether none was left out. */
export function swap(next) {
  let changed = false;
  let whole = true;
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = next.getElementById(old.id);
    const html = fresh?.outerHTML;
    if (!fresh || put.get(old) === html) continue;
    if (selecting(old)) {
      whole = false;
      continue;
    }
    const focused = old.contains(document.activeElement) ? place(document.activeElement) : null;
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    const part = document.importNode(fresh, true);
    put.set(part, html);
    old.replaceWith(part);
    part.querySelectorAll("details").forEach((details, i) => (details.open = open[i] ?? details.open));
    if (focused) find(part, focused)?.focus({ preventScroll: true });
    changed ||= !part.closest("#jobs");
  }
  follow(next);
  return { changed, whole };
}

/** What stands outside of live parts and depends on the address: hidden fields, the CSV link. */
function follow(next) {
  const csv = document.getElementById("csv");
  const other = next.getElementById("csv");
  if (csv && other) csv.setAttribute("href", other.getAttribute("href"));
  const form = document.querySelector("form[data-table]");
  const fresh = next.querySelector("form[data-table]");
  if (!form || !fresh) return;
  form.querySelectorAll("input[type=hidden]").forEach((input) => input.remove());
  fresh.querySelectorAll("input[type=hidden]").forEach((input) => form.prepend(document.importNode(input, true)));
}

/** Make the form say what the address says, after a step back. */
export function restoreForm(next) {
  const fields = document.querySelectorAll("form[data-table] [name]:not([type=hidden])");
  const fresh = next.querySelectorAll("form[data-table] [name]:not([type=hidden])");
  fields.forEach((field, i) => {
    if (field.type === "checkbox") field.checked = fresh[i]?.checked ?? field.checked;
    else field.value = fresh[i]?.value ?? field.value;
  });
}

function selecting(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(element, true);
}

function place(element) {
  return { id: element.id, href: element.getAttribute("href"), text: element.textContent };
}

function find(root, { id, href, text }) {
  if (id) return root.ownerDocument.getElementById(id);
  return [...root.querySelectorAll("a, button, summary")].find(
    (element) => element.getAttribute("href") === href && element.textContent === text,
  );
}
