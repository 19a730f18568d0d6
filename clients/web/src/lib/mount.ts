// A picture of ECharts in a box of the page.
import type { ECharts } from "./charts";

/** Loads what draws, and draws into the box as large as it is. What it returns takes the picture away. */
export function mount(
  box: HTMLElement,
  load: () => Promise<{ init: (box: HTMLElement) => ECharts }>,
  ready: (chart: ECharts | undefined) => void,
): () => void {
  const gone = new AbortController();
  let chart: ECharts | undefined;
  const sizes = new ResizeObserver(() => chart?.resize());
  void load().then(({ init }) => {
    if (gone.signal.aborted) return;
    chart = init(box);
    ready(chart);
    sizes.observe(box);
  });
  return () => {
    gone.abort();
    sizes.disconnect();
    chart?.dispose();
    ready(undefined);
  };
}
