/** Numbers, days and times in the browser's language. */

const LANGUAGE = navigator.language;
const numbers = new Intl.NumberFormat(LANGUAGE);
const percents = new Intl.NumberFormat(LANGUAGE, { style: "percent", maximumFractionDigits: 1 });
const cents = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 4 });

const rates = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });

export const NONE = "–";

export const number = (value: number | null | undefined) => (value == null ? NONE : numbers.format(value));
export const rate = (value: number | null | undefined) => (value == null ? NONE : rates.format(value));
export const percent = (ratio: number | null | undefined) => (ratio == null ? NONE : percents.format(ratio));

/** An amount of cents, with up to 4 decimals. */
export const money = (value: number | null | undefined) =>
  value == null ? NONE : `${cents.format(value)} ¢`;

/** A relative change with its sign. */
export const signed = (ratio: number) =>
  new Intl.NumberFormat(LANGUAGE, {
    style: "percent",
    maximumFractionDigits: 1,
    signDisplay: "exceptZero",
  }).format(ratio);

/** The difference of two ratios in percentage points, with its sign. */
export const points = (difference: number) =>
  `${new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1, signDisplay: "exceptZero" }).format(difference * 100)} points`;

export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return NONE;
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? `${part}` : `${part}`.padStart(2, "0"))).join(":");
}

export function milliseconds(value: number | null | undefined): string {
  if (value == null) return NONE;
  const seconds = new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 });
  return value < 1000 ? `${numbers.format(Math.round(value))} ms` : `${seconds.format(value / 1000)} s`;
}

/** How long something has lasted. */
export const age = (seconds: number) => (seconds < 120 ? milliseconds(seconds * 1000) : duration(seconds));

/** How many there are of something. */
export const counted = (count: number, one: string, several = `${one}s`) =>
  `${number(count)} ${count === 1 ? one : several}`;

/** A timestamp of the API in this time zone. */
export function instant(timestamp: string | null | undefined, timeZone: string): string {
  if (!timestamp) return NONE;
  return new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium", timeZone }).format(
    new Date(timestamp),
  );
}

/** A timestamp of the admin API: operators compare it with logs, which are in UTC. */
export const utc = (timestamp: string | null | undefined) => instant(timestamp, "UTC");

/** The start of an hour, of which the API gives the timestamp. */
export function hour(timestamp: string, timeZone: string): string {
  const day = { day: "numeric", month: "short", year: "numeric" } as const;
  // Only the offset tells the two hours apart when the clock goes back.
  const options = { ...day, hour: "2-digit", minute: "2-digit", timeZoneName: "short", timeZone } as const;
  return new Intl.DateTimeFormat(LANGUAGE, options).format(new Date(timestamp));
}

/** A time of a day with milliseconds, for events of one call. */
export function timeOfDay(timestamp: string, timeZone: string): string {
  return new Intl.DateTimeFormat(LANGUAGE, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    fractionalSecondDigits: 3,
    timeZone,
  }).format(new Date(timestamp));
}

/** Seconds since 1970 as a time of a day in UTC. */
export const clockTime = (seconds: number) =>
  new Intl.DateTimeFormat(LANGUAGE, { timeStyle: "medium", timeZone: "UTC" }).format(seconds * 1000);

/** A day of the API (2026-11-24), which has no time zone. */
export function day(date: string, options: Intl.DateTimeFormatOptions = { dateStyle: "medium" }): string {
  return new Intl.DateTimeFormat(LANGUAGE, { ...options, timeZone: "UTC" }).format(
    new Date(`${date}T00:00:00Z`),
  );
}

/** The day of a moment in this time zone, as the API writes it. */
export function dayOf(moment: Date, timeZone: string): string {
  // The Swedish notation is that of ISO 8601.
  return new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeZone }).format(moment);
}

export const today = (timeZone: string) => dayOf(new Date(), timeZone);

/** The date some days later; earlier if `days` is negative. */
export function addDays(date: string, days: number): string {
  const moved = new Date(`${date}T00:00:00Z`);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}

/** A status or a cause as a person reads it. */
export const words = (name: string) => name.replaceAll("_", " ").toLowerCase();
