// How offsets moved: GetHistory, as series of points.

export interface Sample {
  at: number;
  committed?: number;
  end?: number;
  lag?: number;
  consumed?: number;
  produced?: number;
}

export interface Series {
  cluster: string;
  group: string;
  topic: string;
  partition?: number;
  samples: Sample[];
}

export type By = "partition" | "topic" | "group" | "cluster";

export interface Wanted {
  by: By;
  cluster?: string;
  group?: string;
  groups?: string[];
  topic?: string;
  /** Milliseconds. */
  from: number;
  to?: number;
  samples?: number;
}

/** Undefined where the server keeps no history. */
export async function history(_wanted: Wanted, _signal?: AbortSignal): Promise<Series[] | undefined> {
  return undefined;
}
