/** The span of days of the overview, and the intervals into which it can be divided. */

import type { CallTrends } from "./api/client";
import { addDays, day, hour, today } from "./format";

export type Interval = CallTrends["interval"];
export const INTERVALS: readonly Interval[] = ["hour", "day", "week", "month"];
export const DAYS_OFFERED = [7, 30, 90, 366] as const;
const DAYS_DEFAULT = 30;
const DAYS_MAX: Record<Interval, number> = { hour: 31, day: 366, week: 366, month: 3660 };

export interface Span {
  readonly start: string;
  readonly end: string;
  readonly days: number;
  readonly interval: Interval;
}

/** The span that the address asks for. `days` end today; `start_date` and `end_date` are days themselves, which only
 * the API checks. */
export function spanOf(query: Readonly<Record<string, string>>, timeZone: string): Span {
  const end = query.end_date || today(timeZone);
  const asked = Number(query.days);
  const count = Number.isInteger(asked) && asked >= 1 && asked <= DAYS_MAX.month ? asked : DAYS_DEFAULT;
  const start = query.start_date || (isDay(end) ? addDays(end, 1 - count) : end);
  const days = isDay(start) && isDay(end) ? daysBetween(start, end) : 1;
  const wanted = INTERVALS.find((interval) => interval === query.interval) ?? "day";
  return { start, end, days, interval: fits(wanted, days) ? wanted : "month" };
}

/** Whether the API divides so many days into these intervals. */
export const fits = (interval: Interval, days: number) => days <= DAYS_MAX[interval];

const isDay = (text: string) => /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));

const daysBetween = (start: string, end: string) => (Date.parse(end) - Date.parse(start)) / 86_400_000 + 1;

export type Row = CallTrends["data"][number];

/** A row of trends as a person reads it. */
export function nameOf(row: Row, interval: Interval, timeZone: string): string {
  if (row.hour_start) return hour(row.hour_start, timeZone);
  if (interval === "month") return day(row.date, { month: "long", year: "numeric" });
  if (interval === "week") return `${day(row.start_date ?? row.date)} – ${day(row.end_date ?? row.date)}`;
  return day(row.date, { weekday: "short", day: "numeric", month: "short", year: "numeric" });
}

/** The filters of the list that has exactly the calls of a row. `next` is the row after it. */
export function filtersOf(row: Row, next: Row | undefined): { start_date: string; end_date: string } {
  if (row.hour_start) return { start_date: row.hour_start, end_date: next?.hour_start ?? row.date };
  return { start_date: row.start_date ?? row.date, end_date: row.end_date ?? row.date };
}

/** The filters of the list that has the calls with which a row is compared; null for hours, because of clock changes. */
export function filtersBefore(row: Row, days: number): { start_date: string; end_date: string } | null {
  if (row.hour_start) return null;
  const { start_date, end_date } = filtersOf(row, undefined);
  return { start_date: addDays(start_date, -days), end_date: addDays(end_date, -days) };
}
