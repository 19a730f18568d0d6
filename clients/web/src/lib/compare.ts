// The statement that compares two groups, or all groups of two clusters.
import type { Whole } from "./format";
import type { Side } from "./router.svelte";
import { OLDEST, text, where } from "./sql";

/** The compared columns of a side. */
export const MEASURES = ["lag", "lag_seconds", "consume_rate", "committed_offset"] as const;
export type Measure = (typeof MEASURES)[number];

/** A measure of both sides, and the difference of left and right. */
type Compared = Record<`left_${Measure}` | `right_${Measure}` | `${Measure}_difference`, Whole | null>;
export type Row = Compared & {
  /** Of rows by topic. */
  topic?: string;
  /** Of rows by partition. */
  partition?: number;
  /** The side that has the topic or partition, if only one has. */
  only_on: "left" | "right" | null;
};

/** Rows that are read. */
export const MOST = 1000;

/** By topic, or by partition of a topic. The greatest difference comes first; a side without the row counts as 0. */
export function comparison(left: Required<Side>, right: Required<Side>, measure: Measure, topic?: string): string {
  const key = topic === undefined ? "topic" : "partition";
  const side = ({ cluster, source, group }: Required<Side>) =>
    `(SELECT ${key}, sum(lag) AS lag, ${OLDEST},\n` +
    `             sum(consume_rate) AS consume_rate, sum(committed_offset) AS committed_offset\n      FROM lag` +
    where(
      `cluster = ${text(cluster)}`,
      `source = ${text(source)}`,
      group && `group_id = ${text(group)}`,
      topic !== undefined && `topic = ${text(topic)}`,
    ) +
    ` GROUP BY 1)`;
  const columns = MEASURES.map(
    (one) => `       l.${one} AS left_${one}, r.${one} AS right_${one}, l.${one} - r.${one} AS ${one}_difference`,
  );
  return (
    `SELECT coalesce(l.${key}, r.${key}) AS ${key}, CASE WHEN r.${key} IS NULL THEN 'left' WHEN l.${key} IS NULL THEN 'right' END AS only_on,\n` +
    `${columns.join(",\n")},\n       abs(coalesce(l.${measure}, 0) - coalesce(r.${measure}, 0)) AS distance\n` +
    `FROM ${side(left)} l\nFULL JOIN ${side(right)} r ON l.${key} = r.${key}\n` +
    `ORDER BY distance DESC, ${key} LIMIT ${MOST}`
  );
}
