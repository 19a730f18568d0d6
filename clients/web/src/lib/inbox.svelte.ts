// What changed since the reader last looked: status changes, rewinds and deletions of all groups.
import { Live } from "./live.svelte";
import { rows } from "./rpc";
import { timestamp } from "./sql";

export interface Item {
  at: string;
  cluster: string;
  source: string;
  group_id: string;
  /** `status`, `rewind` or `deletion`. */
  kind: "status" | "rewind" | "deletion";
  /** The new status; NULL for a rewind or a deletion. */
  status: string | null;
  /** The earlier status, or the first partition concerned. */
  detail: string | null;
  /** Number of commits that the item stands for. */
  commits: number;
}

/** Most items that are read: the newest. */
export const MOST = 100;
const KEY = "offsetd-seen";
const HOUR = 3_600_000;

/** One item per status change, and one per group for its rewinds and one for its deletions. */
export function inboxSql(since: number): string {
  return (
    `SELECT at, cluster, source, group_id, 'status' AS kind, to_status AS status, from_status AS detail, 1 AS commits\n` +
    `FROM status_changes WHERE at > ${timestamp(since)} AND from_status <> ''\n` +
    `UNION ALL\n` +
    `SELECT max(committed_at), cluster, source, group_id, CASE WHEN kind = 'tombstone' THEN 'deletion' ELSE 'rewind' END, NULL,\n` +
    `       min(topic || '-' || partition), count(*)\n` +
    `FROM commits WHERE committed_at > ${timestamp(since)} AND (kind = 'tombstone' OR committed_offset < previous_offset)\n` +
    `GROUP BY cluster, source, group_id, 5\n` +
    `ORDER BY 1 DESC LIMIT ${MOST}`
  );
}

class Inbox {
  items = $state.raw<Item[]>([]);
  /** Changes up to this time (ms) are acknowledged. */
  seen = $state(Number(localStorage.getItem(KEY)) || Date.now() - HOUR);

  /** Keeps the items up to date while the calling component lives. */
  follow(): void {
    new Live(() => {
      const since = this.seen;
      return {
        key: String(since),
        load: async (signal) => {
          const found = (await rows<Item>(inboxSql(since), signal)).rows;
          if (since === this.seen) this.items = found;
          return found;
        },
        every: 15_000,
      };
    });
  }

  /** Acknowledges everything up to now. */
  acknowledge(): void {
    this.seen = Date.now();
    this.items = [];
    localStorage.setItem(KEY, String(this.seen));
  }
}

export const inbox = new Inbox();
