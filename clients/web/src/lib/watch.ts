// Streams of changes, one per filter, shared by its listeners: without TLS a browser has six connections to a server.
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { OffsetChange, OffsetFilterSchema } from "../gen/offsetd/v1/offsets_pb";
import { connection } from "./connection.svelte";
import { client, maybeUnreachable, problem } from "./rpc";

export type Filter = MessageInitShape<typeof OffsetFilterSchema>;
type Listener = (changes: OffsetChange[]) => void;

/** Beyond this rate of changes per second, pages refresh by their timer. */
const FLOOD = 500;
const FLOOD_PAUSE = 30_000;
/** Time (ms) that a stream stays open after its last listener has left. */
const LINGER = 100;

const streams = new Map<string, { listeners: Set<Listener>; abort: AbortController }>();

/** Calls the listener with changes, and with an empty list after a resync, until the returned function is called. */
export function follow(filter: string, listener: Listener): () => void {
  let stream = streams.get(filter);
  if (!stream) {
    stream = { listeners: new Set(), abort: new AbortController() };
    streams.set(filter, stream);
    const { listeners, abort } = stream;
    void read(JSON.parse(filter) as Filter, (changes) => listeners.forEach((tell) => tell(changes)), abort.signal);
  }
  const { listeners, abort } = stream;
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    setTimeout(() => {
      if (listeners.size > 0 || abort.signal.aborted) return;
      abort.abort();
      streams.delete(filter);
    }, LINGER);
  };
}

async function read(filter: Filter, tell: Listener, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; failures += 1) {
    const flood = new AbortController();
    try {
      let seen = 0;
      let since = Date.now();
      for await (const answer of client.watch({ filter }, { signal: AbortSignal.any([signal, flood.signal]) })) {
        failures = 0;
        seen += answer.changes.length;
        if (Date.now() - since > 1000) [seen, since] = [0, Date.now()];
        if (seen > FLOOD) flood.abort();
        if (answer.changes.length || answer.resync) tell(answer.changes);
      }
    } catch (error) {
      if (!signal.aborted && !flood.signal.aborted && maybeUnreachable(problem(error))) void connection.reachable();
    }
    await sleep(flood.signal.aborted ? FLOOD_PAUSE : Math.min(500 * 2 ** failures, 8000), signal);
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
