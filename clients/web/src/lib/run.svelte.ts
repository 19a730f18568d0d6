// A statement that runs, and what it gave so far.
import { Code } from "@connectrpc/connect";
import { SqlFormat, type SqlStats } from "../gen/offsetd/v1/offsets_pb";
import type { RecordBatch, Schema } from "./arrow";
import { type Problem, client, maybeUnreachable, problem } from "./rpc";
import { connection } from "./connection.svelte";

/** Most rows that are read. The server's own limit may be lower. */
export const MAX_ROWS = 1_000_000;
/** Milliseconds between two looks of the page at what came. */
const SHOW = 100;

export class Run {
  state = $state<"running" | "done" | "cancelled" | "failed">("running");
  schema = $state.raw<Schema>();
  batches = $state.raw<RecordBatch[]>([]);
  /** Rows before each batch, and of all. */
  starts = $state.raw<number[]>([]);
  rows = $state(0);
  stats = $state.raw<SqlStats>();
  problem = $state.raw<Problem>();
  /** Milliseconds until the end. */
  took = $state(0);
  readonly statement: string;
  /** The stream as it came, to be saved. */
  readonly bytes: Uint8Array<ArrayBuffer>[] = [];
  #abort = new AbortController();

  constructor(statement: string) {
    this.statement = statement;
    void this.#run();
  }

  cancel(): void {
    this.#abort.abort();
  }

  /** The batch that holds a row, and where. */
  find(row: number): [RecordBatch, number] | undefined {
    let [low, high] = [0, this.starts.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= row) low = middle;
      else high = middle - 1;
    }
    const batch = this.batches[low];
    return batch && row < this.rows ? [batch, row - (this.starts[low] ?? 0)] : undefined;
  }

  async #run(): Promise<void> {
    const began = performance.now();
    const [batches, starts]: [RecordBatch[], number[]] = [[], []];
    let rows = 0;
    const show = () => {
      this.batches = [...batches];
      this.starts = [...starts];
      this.rows = rows;
      this.took = performance.now() - began;
    };
    let shown = 0;
    try {
      const arrow = await import("./arrow");
      for await (const part of arrow.batches(this.#bytes())) {
        if ("fields" in part) {
          this.schema = part;
        } else if (part.numRows > 0) {
          batches.push(part);
          starts.push(rows);
          rows += part.numRows;
        }
        if (performance.now() - shown > SHOW) [shown] = [performance.now(), show()];
      }
      this.state = this.#abort.signal.aborted ? "cancelled" : "done";
    } catch (error) {
      const what = problem(error);
      this.state = this.#abort.signal.aborted ? "cancelled" : "failed";
      if (this.state === "failed") this.problem = what;
      if (maybeUnreachable(what) && what.code !== Code.Canceled) void connection.reachable();
    }
    show();
  }

  async *#bytes(): AsyncGenerator<Uint8Array> {
    const request = { statement: this.statement, format: SqlFormat.ARROW_IPC, maxRows: BigInt(MAX_ROWS) };
    for await (const { message } of client.sql(request, { signal: this.#abort.signal })) {
      if (message.case === "stats") this.stats = message.value;
      const bytes = message.value?.arrowIpc as Uint8Array<ArrayBuffer> | undefined;
      if (!bytes?.length) continue;
      this.bytes.push(bytes);
      yield bytes;
    }
  }
}
