// Whether the server is reachable. GetStatus is polled: a server always answers it, with its load progress.
import { Code } from "@connectrpc/connect";
import type { ClusterStatus, GetStatusResponse } from "../gen/offsetd/v1/offsets_pb";
import { client, problem } from "./rpc";

const EVERY = 2000;
const FIRST_RETRY = 250;
const LONGEST_RETRY = 5000;
const PATIENCE = 5000;

class Connection {
  up = $state(true);
  /** Grows when the server is back: all that is shown is read again. */
  epoch = $state(0);
  /** Since when it does not answer (ms). */
  downSince = $state<number>();
  status = $state.raw<GetStatusResponse>();
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking: Promise<boolean> | undefined;

  constructor() {
    void this.reachable();
    addEventListener("online", () => void this.reachable());
    document.addEventListener("visibilitychange", () => void (document.hidden || this.reachable()));
  }

  /** The names of the sources of offsets of a cluster, or of all of them. */
  sources(cluster = ""): string[] {
    const clusters = (this.status?.clusters ?? []).filter((one) => cluster === "" || one.cluster === cluster);
    return [...new Set(clusters.flatMap((one) => one.sources.map((of) => of.source)))];
  }

  /** Asks. */
  reachable(): Promise<boolean> {
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #ask(): Promise<boolean> {
    clearTimeout(this.#timer);
    const answered = await this.#answers();
    if (answered && !this.up) this.epoch += 1;
    this.downSince = answered ? undefined : (this.downSince ?? Date.now());
    this.up = answered;
    this.#failures = answered ? 0 : this.#failures + 1;
    const retry = Math.min(FIRST_RETRY * 2 ** this.#failures, LONGEST_RETRY) * (0.75 + Math.random() / 2);
    // A hidden tab needs no refresh.
    if (!document.hidden) this.#timer = setTimeout(() => void this.reachable(), answered ? EVERY : retry);
    return answered;
  }

  async #answers(): Promise<boolean> {
    try {
      this.status = await client.getStatus({}, { timeoutMs: PATIENCE });
      return true;
    } catch (error) {
      return [Code.Unauthenticated, Code.PermissionDenied].includes(problem(error).code);
    }
  }
}

/** A count of a cluster; undefined before any of it is read. */
export function counted(cluster: ClusterStatus, count: bigint): bigint | undefined {
  return cluster.ready || count > 0n ? count : undefined;
}

export const connection = new Connection();
