// Long names are folded in the middle: groups and hosts of a family differ at their ends.

/** Characters that a name has at least to be folded. */
const LONG = 12;
/** Most characters of its end that always show. */
const END = 10;
/** Widths are rounded to 1/64 px: the sum of two parts must not be too wide for their own sum. */
const SLACK = 0.05;

/** The part of a name that may be cut, and the part that may not. */
export function fold(name: string): { start: string; end: string } {
  const signs = [...name];
  if (signs.length < LONG) return { start: name, end: "" };
  const end = Math.min(END, Math.floor(signs.length / 2));
  return { start: signs.slice(0, -end).join(""), end: signs.slice(-end).join("") };
}

const widths = new ResizeObserver((changes) => {
  for (const { target, contentRect } of changes) target.parentElement?.style.setProperty("--end", `${contentRect.width - SLACK}px`);
});

/** Tells the parent of an end how wide the end is, before it is painted. */
export function measured(end: HTMLElement): () => void {
  const name = end.parentElement;
  widths.observe(end);
  return () => {
    widths.unobserve(end);
    name?.style.removeProperty("--end");
  };
}
