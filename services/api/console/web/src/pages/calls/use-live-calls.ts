/** The rows of a list, as the changes of calls alter them. */

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Filters } from "../../addresses";
import type { Change, Connection } from "../../api/changes";
import type { Call } from "../../api/client";
import { useChanges } from "../../api/use-answer";
import { dayOf } from "../../format";

export interface LiveCalls {
  /** The calls of the page, in its order and in their latest states. */
  readonly calls: readonly Call[];
  /** The ids of calls of the page that were deleted. */
  readonly gone: ReadonlySet<string>;
  /** How many calls were created since the page was loaded, and may belong to the list. */
  readonly newCalls: number;
  readonly connection: Connection;
  /** Loads the page again. */
  readonly show: () => void;
}

interface Changed {
  readonly states: ReadonlyMap<string, Call>;
  readonly gone: ReadonlySet<string>;
  readonly created: ReadonlySet<string>;
}

const NOTHING: Changed = { states: new Map(), gone: new Set(), created: new Set() };

export function useLiveCalls(
  page: readonly Call[] | null,
  filters: Filters,
  timeZone: string,
  reload: () => void,
): LiveCalls {
  const [changed, setChanged] = useState(NOTHING);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a loaded page has all earlier changes.
  useEffect(() => setChanged(NOTHING), [page]);
  const newest = useMemo(
    () => Math.max(0, ...(page ?? []).map((call) => Date.parse(call.created_at))),
    [page],
  );
  const isNew = (call: Call) => Date.parse(call.created_at) > newest && mayBeListed(call, filters, timeZone);
  const connection = useChanges((change) => {
    if (change.type === "reset") reload();
    else if (page) setChanged((before) => after(before, change, page, isNew));
  });
  const calls = useMemo(
    () => (page ?? []).map((call) => changed.states.get(call.id) ?? call),
    [page, changed.states],
  );
  return { calls, gone: changed.gone, newCalls: changed.created.size, connection, show: reload };
}

function after(
  before: Changed,
  change: Exclude<Change, { type: "reset" }>,
  page: readonly Call[],
  isNew: (call: Call) => boolean,
): Changed {
  const id = change.type === "deleted" ? change.id : change.call.id;
  if (page.some((call) => call.id === id)) {
    if (change.type === "deleted") return { ...before, gone: new Set(before.gone).add(id) };
    return { ...before, states: new Map(before.states).set(id, change.call) };
  }
  const created = new Set(before.created);
  if (change.type === "deleted") created.delete(id);
  else if (isNew(change.call)) created.add(id);
  return created.size === before.created.size ? before : { ...before, created };
}

/** Whether a call has the days, status, direction and phone number of the list. Only the API knows the other filters. */
function mayBeListed(call: Call, filters: Filters, timeZone: string): boolean {
  const created = new Date(call.created_at);
  const createdBy = (bound: string) =>
    bound.length > 10 ? created < new Date(bound) : dayOf(created, timeZone) <= bound;
  return (
    (!filters.end_date || createdBy(filters.end_date)) &&
    (!filters.status || filters.status.split(",").includes(call.status)) &&
    (!filters.direction || filters.direction === (call.direction ?? "unknown")) &&
    (!filters.phone_number_id || filters.phone_number_id === call.phone_number_id)
  );
}
