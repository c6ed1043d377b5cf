/** The statuses of a call, in the order in which charts stack them. */

import type { Status } from "./api/client";

export const STATUSES: readonly Status[] = [
  "completed",
  "in_progress",
  "ringing",
  "initiated",
  "no_answer",
  "busy",
  "canceled",
  "failed",
];

/** The colour of a status in the present colour scheme. */
export function colourOf(status: Status): string {
  return getComputedStyle(document.documentElement)
    .getPropertyValue(`--${status.replace("_", "-")}`)
    .trim();
}
