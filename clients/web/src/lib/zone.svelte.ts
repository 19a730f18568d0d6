// The time zone in which every time on every page is shown: the browser's, or UTC.

const KEY = "offsetd-zone";
const LOCAL = new Intl.DateTimeFormat().resolvedOptions().timeZone;

class Zone {
  utc = $state(localStorage.getItem(KEY) === "utc");

  /** The name of the zone. */
  get name(): string {
    return this.utc ? "UTC" : LOCAL;
  }

  toggle(): void {
    this.utc = !this.utc;
    if (this.utc) localStorage.setItem(KEY, "utc");
    else localStorage.removeItem(KEY);
  }
}

export const zone = new Zone();

const formats = new Map<string, Intl.DateTimeFormat>();

function format(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${zone.name}${JSON.stringify(options)}`;
  const made = formats.get(key) ?? new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone.name });
  formats.set(key, made);
  return made;
}

const TIME = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
const SECONDS = { ...TIME, second: "2-digit" } as const;
const DAY = { day: "numeric", month: "short" } as const;

/** A time of day: "14:03:07". */
export function clock(at: number): string {
  return format(SECONDS).format(at);
}

/** A date and time to the millisecond, with the zone: "2026-11-30 14:03:07.123 Europe/Berlin". */
export function stamp(at: number): string {
  const parts = format({ year: "numeric", month: "2-digit", day: "2-digit", ...SECONDS, fractionalSecondDigits: 3 }).formatToParts(at);
  const of = (type: Intl.DateTimeFormatPartTypes) => parts.find((part) => part.type === type)?.value ?? "";
  return `${of("year")}-${of("month")}-${of("day")} ${of("hour")}:${of("minute")}:${of("second")}.${of("fractionalSecond")} ${zone.name}`;
}

/** A date and time to the minute, without the year: "30 Nov, 14:03". */
export function short(at: number): string {
  return format({ ...DAY, ...TIME }).format(at);
}

/** A label on an axis of the given length (ms). */
export function tick(at: number, span: number): string {
  return format({ ...(span > 86_400_000 ? DAY : {}), ...(span < 600_000 ? SECONDS : TIME) }).format(at);
}
