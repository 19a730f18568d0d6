// Statements as text: what a page runs is what the SQL page shows.

/** A text as a literal. */
export function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** Conditions, those that are not set left out. */
export function where(...conditions: (string | false | undefined)[]): string {
  const set = conditions.filter(Boolean);
  return set.length ? ` WHERE ${set.join(" AND ")}` : "";
}

/** Whether a column holds a text, in upper or lower case: as the server searches. */
export function has(column: string, search: string): string {
  return `${column} ILIKE ${text(`%${search.replace(/[\\%_]/g, "\\$&")}%`)}`;
}

/** Groups whose id, or a topic of theirs, holds a text. */
export function groupsLike(search: string): string {
  const topic = has("topic", search);
  const reads = (rows: string) => `${GROUP} IN (SELECT ${GROUP} FROM ${rows})`;
  const held = `assignments WHERE kind = 'current' AND ${topic}`;
  return `(${has("group_id", search)} OR ${reads(`offsets WHERE ${topic}`)} OR ${reads(held)})`;
}

/** A group in all clusters and sources. */
export const GROUP = "cluster || '/' || source || '/' || group_id";

const STATUSES = "['data_lost', 'stopped', 'stalled', 'rewind', 'lagging', 'unknown', 'ok']";

/** Rows of the groups that are worst come first. */
export const BY_SEVERITY = `array_position(${STATUSES}, status)`;

/** Of some rows. */
export const WORST_STATUS = `array_element(${STATUSES}, CAST(min(${BY_SEVERITY}) AS BIGINT))`;

/** The greatest age over time; unknown where only partitions of unknown age have a lag. */
export const OLDEST =
  "CASE WHEN max(lag_seconds) > 0 OR count(*) FILTER (WHERE lag > 0 AND lag_seconds IS NULL) = 0\n" +
  "            THEN max(lag_seconds) END AS lag_seconds";

/** A time (ms) as a literal. */
export const timestamp = (ms: number) => `TIMESTAMP '${new Date(ms).toISOString().slice(0, 19)}'`;

/** The samples between two times (ms). */
export function samples(condition: string | undefined, from: number, to?: number): string {
  return `FROM history${where(condition, `sampled_at >= ${timestamp(from)}`, to !== undefined && `sampled_at <= ${timestamp(to)}`)}`;
}

/** What charts over time show, a line for each source of a cluster, or for each group. */
export function overTime(samples: string, by = ["cluster", "source"]): string {
  const line = by.map((_, at) => at + 2).join(", ");
  return (
    `SELECT sampled_at, ${by.join(", ")}, sum(committed_offset) AS committed_offset, sum(log_end_offset) AS log_end_offset,\n` +
    `       sum(lag) AS lag, ${OLDEST}\n${samples}\nGROUP BY 1, ${line} ORDER BY 1, ${line}`
  );
}

/** The path of the SQL page that runs it. */
export function sqlPath(statement: string): string {
  return `/sql?${new URLSearchParams({ q: statement })}`;
}
