/** Returns a colour of the theme, for canvases, which CSS does not style. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Lines of a tooltip: texts only, whatever they hold. */
export function tooltip(title: string, lines: { name: string; value: string; colour?: string }[]): HTMLElement {
  const box = document.createElement("div");
  const head = document.createElement("div");
  head.textContent = title;
  head.style.fontWeight = "600";
  box.append(head);
  for (const line of lines) {
    const row = document.createElement("div");
    row.style.display = "flex";
    row.style.gap = "1.2em";
    const name = document.createElement("span");
    name.textContent = line.name;
    name.style.marginRight = "auto";
    if (line.colour) {
      name.style.borderLeft = `0.25em solid ${line.colour}`;
      name.style.paddingLeft = "0.5em";
    }
    const value = document.createElement("span");
    value.textContent = line.value;
    row.append(name, value);
    box.append(row);
  }
  return box;
}

/** How tooltips look. */
export function tooltipStyle() {
  return {
    backgroundColor: colour("raised"),
    borderColor: colour("line-strong"),
    textStyle: { color: colour("text"), fontFamily: family(), fontSize: rem(0.9) },
    confine: true,
    transitionDuration: 0,
  };
}

/** Pixels. */
export function rem(times: number): number {
  return times * parseFloat(getComputedStyle(document.documentElement).fontSize);
}

/** The font of the page: a canvas inherits none. */
export function family(): string {
  return getComputedStyle(document.body).fontFamily;
}
