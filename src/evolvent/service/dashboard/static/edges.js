// Marks the boxes that scroll sideways: "more" while something lies to the right, "moved" to the left.

const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target.closest(".box"))));

/** Watch every box of the page; those that are watched already stay so. */
export function watchEdges() {
  for (const box of document.querySelectorAll(".box")) {
    sizes.observe(box);
    for (const table of box.children) sizes.observe(table);
  }
}

function mark(box) {
  if (!box) return; // taken out of the page meanwhile
  const { scrollLeft, scrollWidth, clientWidth } = box;
  box.classList.toggle("more", scrollLeft + clientWidth < scrollWidth - 1);
  box.classList.toggle("moved", scrollLeft > 1);
}

document.addEventListener(
  "scroll",
  ({ target }) => target.matches?.(".box") && mark(target),
  { capture: true, passive: true },
);
watchEdges();
