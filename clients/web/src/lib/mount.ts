// A picture of ECharts in a box of the page.
import type { ECharts } from "./charts";

/** Pause before code that could not be loaded is loaded again, for example while the server restarts (ms). */
const RETRY = 2000;

/** Loads what draws, and draws into the box as large as it is. What it returns takes the picture away. */
export function mount(
  box: HTMLElement,
  load: () => Promise<{ init: (box: HTMLElement) => ECharts }>,
  ready: (chart: ECharts | undefined) => void,
): () => void {
  const gone = new AbortController();
  let chart: ECharts | undefined;
  const sizes = new ResizeObserver(() => chart?.resize());
  const draw = (): Promise<void> =>
    load().then(
      ({ init }) => {
        if (gone.signal.aborted) return;
        chart = init(box);
        ready(chart);
        sizes.observe(box);
      },
      () => void setTimeout(() => gone.signal.aborted || void draw(), RETRY),
    );
  void draw();
  return () => {
    gone.abort();
    sizes.disconnect();
    chart?.dispose();
    ready(undefined);
  };
}
