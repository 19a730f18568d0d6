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

/** Groups whose id, or a topic of theirs, holds a text: as the server searches. */
export function groupsLike(search: string): string {
  const has = (column: string) => `strpos(${column}, ${text(search)}) > 0`;
  const reads = (table: string) => `${GROUP} IN (SELECT ${GROUP} FROM ${table} WHERE ${has("topic")})`;
  return `(${has("group_id")} OR ${reads("offsets")} OR ${reads("assignments")})`;
}

/** A group in all clusters. */
export const GROUP = "cluster || '/' || group_id";

/** Rows of the groups that are worst come first. */
export const BY_SEVERITY =
  "array_position(['data_lost', 'stopped', 'stalled', 'rewind', 'lagging', 'unknown', 'ok'], status)";

/** The greatest age over time. Nobody knows it where none is behind but those of unknown age. */
const OLDEST =
  "CASE WHEN max(lag_seconds) > 0 OR count(*) FILTER (WHERE lag > 0 AND lag_seconds IS NULL) = 0\n" +
  "            THEN max(lag_seconds) END AS lag_seconds";

/** What charts over time show, of each cluster, from a time (ms) on. */
export function overTime(condition: string | undefined, from: number): string {
  const since = `sampled_at >= TIMESTAMP '${new Date(from).toISOString().slice(0, 19)}'`;
  return (
    `SELECT sampled_at, cluster, sum(committed_offset) AS committed_offset, sum(log_end_offset) AS log_end_offset,\n` +
    `       sum(lag) AS lag, ${OLDEST}\n` +
    `FROM history${where(condition, since)}\nGROUP BY 1, 2 ORDER BY 1, 2`
  );
}

/** The path of the SQL page that runs it. */
export function sqlPath(statement: string): string {
  return `/sql?${new URLSearchParams({ q: statement })}`;
}
