// What was seen since the dashboard was opened, for charts of what the server keeps no history of.

export interface Seen {
  at: number;
  lag: number | null;
  seconds: number | null;
}

/** An hour at the pace of the overview. */
const KEPT = 1200;

class Recent {
  #of = $state.raw<Record<string, Seen[]>>({});

  add(cluster: string, seen: Seen): void {
    this.#of = { ...this.#of, [cluster]: [...(this.#of[cluster] ?? []), seen].slice(-KEPT) };
  }

  of(cluster: string): Seen[] {
    return this.#of[cluster] ?? [];
  }
}

export const recent = new Recent();
