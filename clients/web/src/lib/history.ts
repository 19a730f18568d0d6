// How offsets moved: GetHistory, as series of points.
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { HistoryBy } from "../gen/offsetd/v1/offsets_pb";
import { millis } from "./format";
import { exactly } from "./match";
import { client } from "./rpc";

export interface Sample {
  at: number;
  /** Unset where the lag is unknown, and between samples that are far apart. */
  lag?: number | undefined;
  /** Age of the oldest unread record. */
  seconds?: number | undefined;
  consumed?: number | undefined;
  produced?: number | undefined;
}

export interface Series {
  cluster: string;
  source: string;
  group: string;
  topic: string;
  samples: Sample[];
}

export interface Wanted {
  by: "topic" | "group" | "cluster";
  /** Empty: all. */
  cluster?: string;
  /** Likewise. */
  source?: string;
  groups?: string[];
  topic?: string;
  /** Milliseconds. */
  from: number;
  to?: number | undefined;
}

const BY = { topic: HistoryBy.TOPIC, group: HistoryBy.GROUP, cluster: HistoryBy.CLUSTER };
/** Of a chart (ms). */
const LEAST = 120_000;
/** Steps without a sample after which a line is interrupted. */
const GAP = 4;
const exact = (value: string) => ({ match: { case: "exact" as const, value } });

/** The left end of a chart: the first sample, at most `from`. Times without samples take no room. */
export function begin(series: Series[], from: number, to: number): number {
  const first = Math.min(...series.map((of) => of.samples[0]?.at ?? to), to - LEAST);
  return Math.max(from, first);
}

/** One series for each topic, group, or source of a cluster that has samples. */
export async function history(wanted: Wanted, signal?: AbortSignal): Promise<Series[]> {
  const { by, cluster, source, groups, topic, from, to } = wanted;
  const filter = {
    ...(cluster && { cluster: exact(cluster) }),
    ...(source && { sources: [source] }),
    ...(topic && { topic: exact(topic) }),
    ...(groups && { groupId: { match: { case: "regex" as const, value: exactly(groups) } } }),
  };
  const request = { filter, by: BY[by], from: timestampFromMs(from), ...(to && { to: timestampFromMs(to) }), pageSize: 1000 };
  const { series, step } = await client.getHistory(request, { signal });
  const gap = GAP * (Number(step?.seconds ?? 0) * 1000 + (step?.nanos ?? 0) / 1e6);
  return series.map((of) => {
    const samples: Sample[] = [];
    for (const { sampledAt, lag, maxLagSeconds, consumeRate, produceRate } of of.samples) {
      const at = millis(sampledAt) ?? 0;
      const before = samples.at(-1)?.at ?? at;
      if (gap > 0 && at - before > gap) samples.push({ at: before + 1 });
      const records = lag === undefined ? undefined : Number(lag);
      samples.push({ at, lag: records, seconds: maxLagSeconds, consumed: consumeRate, produced: produceRate });
    }
    return { cluster: of.cluster, source: of.source, group: of.groupId, topic: of.topic, samples };
  });
}
