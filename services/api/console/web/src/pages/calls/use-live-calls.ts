/** The rows of a list, as the changes of calls alter them. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Filters } from "../../addresses";
import type { Change, Connection } from "../../api/changes";
import type { Call, CallList } from "../../api/client";
import { type Answer, useChanges } from "../../api/use-answer";
import { dayOf } from "../../format";

export interface LiveCalls {
  /** The calls of the page, in its order and in their latest states. */
  readonly calls: readonly Call[];
  /** The ids of calls of the page that were deleted. */
  readonly gone: ReadonlySet<string>;
  /** How many calls were created since the page was loaded, and may belong to the list. Only the first page of the
   * newest calls has them. */
  readonly newCalls: number;
  /** Whether all of them belong to the list. */
  readonly isExact: boolean;
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

export function useLiveCalls(answer: Answer<CallList>, query: Filters, timeZone: string): LiveCalls {
  const page = answer.content?.data ?? null;
  const { isLoading, refresh, reload } = answer;
  const [changed, setChanged] = useState(NOTHING);
  const missed = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a page that loads has all changes before its request.
  useEffect(() => {
    setChanged(NOTHING);
    if (missed.current) refresh();
    missed.current = false;
  }, [page]);
  const newest = useMemo(
    () => Math.max(0, ...(page ?? []).map((call) => Date.parse(call.created_at))),
    [page],
  );
  const isNew = (call: Call) =>
    isNewestFirst(query) && Date.parse(call.created_at) > newest && mayBeListed(call, query, timeZone);
  const connection = useChanges((change) => {
    if (isLoading) missed.current = true;
    if (change.type === "reset") refresh();
    else if (page) setChanged((before) => after(before, change, page, isNew));
  });
  const calls = useMemo(
    () => (page ?? []).map((call) => changed.states.get(call.id) ?? call),
    [page, changed.states],
  );
  return {
    calls,
    gone: changed.gone,
    newCalls: changed.created.size,
    isExact: Object.keys(query).every((name) => JUDGED.has(name)),
    connection,
    show: reload,
  };
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

/** The parameters that `mayBeListed` judges, or that do not choose calls. */
const JUDGED = new Set(["start_date", "end_date", "status", "direction", "phone_number_id", "sort", "order"]);

const isNewestFirst = (query: Filters) =>
  !query.cursor && (query.sort ?? "created_at") === "created_at" && query.order !== "asc";

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
