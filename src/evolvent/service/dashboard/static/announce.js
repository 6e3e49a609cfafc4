// Tells those who listen to the page what has changed: at once what matters, the rest now and then.

const SELDOM_MS = 30000;
const status = document.getElementById("announce");
let last = 0;

export function announce(before, after) {
  const matters = !before || before.state !== after.state;
  if (!after.now || (before && before.now === after.now)) return;
  if (!matters && Date.now() - last < SELDOM_MS) return;
  last = Date.now();
  status.textContent = after.now;
}
