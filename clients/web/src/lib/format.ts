// Numbers and times as people read them, and exactly.

/** A 64-bit number in JSON is a string where a double would not hold it. */
export type Whole = number | bigint | string;

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 3 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 4 });
const short = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });

function wide(value: Whole): number | bigint {
  return typeof value === "string" ? BigInt(value) : value;
}

/** Every digit. */
export function exact(value: Whole): string {
  return grouped.format(wide(value));
}

/** Every digit up to a million, then as "71.14M". */
export function count(value: Whole): string {
  const number = wide(value);
  return number >= 1_000_000 || number <= -1_000_000 ? compact.format(number) : grouped.format(number);
}

/** As "3.2/s". */
export function rate(value: number): string {
  return `${Math.abs(value) < 100 ? short.format(value) : count(Math.round(value))}/s`;
}

const UNITS: [string, number][] = [["d", 86_400], ["h", 3600], ["min", 60]];

/** As "4.2 s", "15 min 4 s", "2 d 3 h". */
export function seconds(value: number): string {
  const whole = Math.round(Math.abs(value));
  if (whole < 60) return `${Math.abs(value) < 10 ? Math.round(value * 10) / 10 : Math.round(value)} s`;
  const at = UNITS.findIndex(([, size]) => whole >= size);
  const [unit, size] = UNITS[at] ?? ["s", 1];
  const [next, small] = UNITS[at + 1] ?? ["s", 1];
  const rest = Math.floor((whole % size) / small);
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${next}` : ""}`;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

/** Of a scale of times, at most four steps to the greatest. */
export function secondsStep(greatest: number): number {
  return STEPS.find((step) => step >= greatest / 4) ?? Math.ceil(greatest / 4 / 86_400) * 86_400;
}

/** Of an age its largest unit: "5 min". */
export function roughly(value: number): string {
  const [unit, size] = UNITS.find(([, size]) => value >= size) ?? ["s", 1];
  return `${Math.floor(value / size)} ${unit}`;
}

export function bytes(value: number): string {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) {
    if (value >= size) return `${short.format(value / size)} ${unit}`;
  }
  return `${value} B`;
}

/** Milliseconds of a time that the server gave, as JSON or protobuf. */
export function millis(value: string | { seconds: bigint; nanos: number } | undefined | null): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return Date.parse(value.endsWith("Z") ? value : `${value}Z`);
  return Number(value.seconds) * 1000 + value.nanos / 1e6;
}

/** The host of a client, which Kafka writes with a slash before it. */
export function host(of: string): string {
  return of.replace(/^\//, "");
}

/** One line: what would break it is shown as a sign. */
export function visible(text: string): string {
  // eslint-disable-next-line no-control-regex
  const signs = text.replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
  return signs.replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) =>
    `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
