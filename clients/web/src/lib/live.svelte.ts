// The data of a page, kept up to date: refreshed when Watch reports a commit, and periodically, since log ends move
// without one. The page shows the previous data until the next response arrives.
import { untrack } from "svelte";
import type { OffsetChange } from "../gen/offsetd/v1/offsets_pb";
import { connection } from "./connection.svelte";
import { type Problem, maybeUnreachable, problem } from "./rpc";
import { token } from "./token.svelte";
import { type Filter, follow } from "./watch";

export interface Source<T> {
  /** What the data is about: another key, and nothing old is shown. */
  key: string;
  load: (signal: AbortSignal) => Promise<T>;
  /** Milliseconds between reads without news. */
  every?: number;
  /** What changes that were watched make of the data, until it is read again; undefined where only that can tell. */
  patch?: (data: T, changes: OffsetChange[]) => T | undefined;
}

/** Least time between two reads (ms), and between them and the time that one takes: most of the server is others'. */
const LEAST = 800;
const SHARE = 3;
/** But no longer than that. */
const MOST = 5000;
class Pause {
  /** When it began (ms). */
  since = $state<number>();
  hidden = $state(document.hidden);

  constructor() {
    document.addEventListener("visibilitychange", () => (this.hidden = document.hidden));
  }

  toggle(): void {
    this.since = this.since === undefined ? Date.now() : undefined;
  }
}

export const pause = new Pause();

/** Whether data is refreshed. A hidden tab holds no connection. */
function running(): boolean {
  return pause.since === undefined && !pause.hidden && connection.up && !token.wanted;
}

export class Live<T> {
  data = $state.raw<T>();
  problem = $state.raw<Problem>();
  /** When the data was requested (ms). */
  at = $state(0);
  /** An answer to something new is awaited. */
  busy = $state(false);

  #source: Source<T> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #abort: AbortController | undefined;
  #loading = false;
  #again = false;
  #started = 0;
  #took = 0;

  /** To be made while a component is. `watch` chooses the commits that concern the data. */
  constructor(source: () => Source<T> | undefined, watch?: () => Filter | undefined) {
    $effect(() => {
      const next = source();
      void connection.epoch;
      void token.tries;
      untrack(() => this.#change(next));
      return () => this.#stop();
    });
    $effect(() => {
      if (running()) untrack(() => this.poke());
      else clearTimeout(this.#timer);
    });
    const watched = $derived(JSON.stringify(watch?.()));
    $effect(() => {
      if (!watched || !running()) return undefined;
      return follow(watched, (changes) => this.#news(changes));
    });
  }

  /** There is news. */
  poke(): void {
    if (this.#loading) this.#again = true;
    else if (running()) this.#schedule(Math.max(this.#started + Math.max(LEAST, this.#rest()) - Date.now(), 0));
  }

  #news(changes: OffsetChange[]): void {
    const patched = this.data === undefined ? undefined : this.#source?.patch?.(this.data, changes);
    if (patched !== undefined) this.data = patched;
    this.poke();
  }

  /** Now, whatever else. */
  reload(): void {
    if (this.#source) this.#change(this.#source);
  }

  #change(next: Source<T> | undefined): void {
    this.#stop();
    if (next?.key !== this.#source?.key) this.data = undefined;
    this.problem = undefined;
    this.#source = next;
    this.busy = next !== undefined;
    if (next) void this.#load(next);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#loading = false;
  }

  #rest(): number {
    return Math.min(SHARE * this.#took, MOST);
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#source && void this.#load(this.#source), ms);
  }

  async #load(source: Source<T>): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#loading = true;
    this.#again = false;
    this.#started = Date.now();
    try {
      const data = await source.load(abort.signal);
      if (abort.signal.aborted) return;
      // Data that was requested before a pause does not change the paused page.
      if (this.busy || pause.since === undefined) {
        this.data = data;
        this.problem = undefined;
        this.at = this.#started;
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      const what = problem(error);
      // Until it is known whether the server is reachable, the shown data is old, not wrong.
      if (!(maybeUnreachable(what) && !(await connection.reachable())) && !abort.signal.aborted) this.problem = what;
    }
    if (abort.signal.aborted) return;
    this.#loading = false;
    this.busy = false;
    this.#took = Date.now() - this.#started;
    if (!running()) return;
    if (this.#again) this.poke();
    else if (source.every) this.#schedule(Math.max(source.every, this.#rest()));
  }
}

/** The current time, updated every second while the tab is visible: for "4 s ago". */
class Now {
  ms = $state(Date.now());

  constructor() {
    setInterval(() => {
      if (pause.since === undefined && !document.hidden) this.ms = Date.now();
    }, 1000);
  }
}

export const now = new Now();
