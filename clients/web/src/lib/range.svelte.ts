// Which span of time a chart shows: a named one up to now, or two ends, both in the URL.
import { router } from "./router.svelte";

export const RANGES: Record<string, number> = { "15m": 15, "1h": 60, "6h": 360, "24h": 1440, "7d": 10_080 };
const MINUTE = 60_000;
const DEFAULT = "1h";

class Range {
  get name(): string {
    return router.get("from") && router.get("to") ? "" : router.get("range") in RANGES ? router.get("range") : DEFAULT;
  }

  get shown(): { from: () => number; to?: () => number; live: boolean } {
    const name = this.name;
    const [from, to] = [Date.parse(router.get("from")), Date.parse(router.get("to"))];
    if (!name && from < to) return { from: () => from, to: () => to, live: false };
    return { from: () => Date.now() - (RANGES[name || DEFAULT] ?? 60) * MINUTE, live: true };
  }

  /** A part, to be seen more closely. */
  choose = (from: number, to: number): void => {
    router.set({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), range: "" });
  };

  chooseName(name: string): void {
    router.set({ from: "", to: "", range: name === DEFAULT ? "" : name });
  }

  /** Twice as much, around the same middle. */
  widen(): void {
    const { from, to } = this.shown;
    const [first, last] = [from(), to?.() ?? Date.now()];
    const half = (last - first) / 2;
    this.choose(first - half, Math.min(last + half, Date.now()));
  }
}

export const range = new Range();
