/** The rows of a list, as the changes of calls alter them. */

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Change, Connection } from "../../api/changes";
import type { Call } from "../../api/client";
import { useChanges } from "../../api/use-answer";

export interface LiveCalls {
  /** The calls of the page, in its order and in their latest states. */
  readonly calls: readonly Call[];
  /** The ids of calls of the page that were deleted. */
  readonly gone: ReadonlySet<string>;
  /** How many other calls were created since the page was loaded. */
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

export function useLiveCalls(page: readonly Call[] | null, reload: () => void): LiveCalls {
  const [changed, setChanged] = useState(NOTHING);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a loaded page has all earlier changes.
  useEffect(() => setChanged(NOTHING), [page]);
  const newest = useMemo(
    () =>
      (page ?? [])
        .map((call) => call.created_at)
        .sort()
        .at(-1) ?? "",
    [page],
  );
  const connection = useChanges((change) => {
    if (change.type === "reset") reload();
    else if (page) setChanged((before) => after(before, change, page, newest));
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
  newest: string,
): Changed {
  const id = change.type === "deleted" ? change.id : change.call.id;
  if (page.some((call) => call.id === id)) {
    if (change.type === "deleted") return { ...before, gone: new Set(before.gone).add(id) };
    return { ...before, states: new Map(before.states).set(id, change.call) };
  }
  const created = new Set(before.created);
  if (change.type === "deleted") created.delete(id);
  else if (change.call.created_at > newest) created.add(id);
  return created.size === before.created.size ? before : { ...before, created };
}
