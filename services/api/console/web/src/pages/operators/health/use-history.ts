/** The measurements of the lag since the page was opened, and the rate between each two. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Lag } from "../../../api/admin";

/** An hour. */
const POINTS_MAX = 1_800;

export interface Point {
  /** Seconds since 1970. */
  readonly at: number;
  readonly lag: number;
  /** Records per second since the measurement before; null if that is not known. */
  readonly rate: number | null;
}

export function useHistory(lag: Lag | null): readonly Point[] {
  const [points, setPoints] = useState<readonly Point[]>([]);
  const before = useRef<Lag | null>(null);
  useEffect(() => {
    if (lag === null || lag === before.current) return;
    const point = {
      at: Date.parse(lag.at) / 1000,
      lag: lag.topics.reduce((sum, topic) => sum + topic.lag, 0),
      rate: before.current && rateBetween(before.current, lag),
    };
    before.current = lag;
    setPoints((all) => [...all, point].slice(-POINTS_MAX));
  }, [lag]);
  return points;
}

/** How many records ingest read per second, in the partitions that both measurements have. */
function rateBetween(before: Lag, after: Lag): number | null {
  const seconds = (Date.parse(after.at) - Date.parse(before.at)) / 1000;
  const committed = committedOf(before);
  let records = 0;
  for (const [partition, offset] of committedOf(after))
    records += offset - (committed.get(partition) ?? offset);
  // Offsets that were set back tell nothing about the rate.
  return seconds > 0 && records >= 0 ? records / seconds : null;
}

const committedOf = (lag: Lag) =>
  new Map(
    lag.topics.flatMap(({ topic, partitions }) =>
      partitions.map((each) => [`${topic} ${each.partition}`, each.committed] as const),
    ),
  );
