/** The list of calls: its filters are in the address, and its rows follow the changes of calls. */

import { useEffect, useRef } from "preact/hooks";
import { useLocation } from "preact-iso";
import { callAt, callsAt } from "../addresses";
import type { Call } from "../api/client";
import { useSession } from "../api/session";
import { useAnswer, useApi } from "../api/use-answer";
import { duration, instant, money, NONE, number, words } from "../format";
import { Columns } from "../ui/columns";
import { Heading } from "../ui/frame";
import { LiveMark } from "../ui/live-mark";
import { Pages } from "../ui/pages";
import { Scrolled } from "../ui/scrolled";
import { Empty, Loading, Problem } from "../ui/states";
import { StatusMark } from "../ui/status-mark";
import { Export } from "./calls/export";
import { FilterForm } from "./calls/filter-form";
import { type LiveCalls, useLiveCalls } from "./calls/use-live-calls";

const CALLS_PER_PAGE = 50;

export function CallsPage() {
  const { query } = useLocation();
  const { cursor, ...filters } = query;
  const api = useApi();
  const answer = useAnswer(`calls ${JSON.stringify(query)}`, (signal) =>
    // The total of a later page is that of the first one.
    api.calls({ limit: CALLS_PER_PAGE, ...query, ...(cursor && { total: false }) }, signal),
  );
  const { timeZone } = useSession();
  const live = useLiveCalls(answer, query, timeZone);
  useFocusOnHeading(JSON.stringify(query));
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Calls">Calls</Heading>
      <FilterForm key={JSON.stringify(filters)} filters={filters} />
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="calls" />
      ) : (
        <section aria-busy={answer.isLoading}>
          <div class="toolbar">
            <p class="total" role="status">
              {content.total === null
                ? "A later page"
                : `${number(content.total)} ${content.total === 1 ? "call" : "calls"}`}
            </p>
            <Announcement live={live} />
            <LiveMark connection={live.connection} />
            <Export filters={filters} />
          </div>
          {live.calls.length === 0 ? (
            <Empty>No call has these properties.</Empty>
          ) : (
            <List calls={live.calls} gone={live.gone} />
          )}
          <Pages
            first={cursor ? callsAt(filters) : null}
            next={content.next_cursor && callsAt({ ...filters, cursor: content.next_cursor })}
          />
        </section>
      )}
    </>
  );
}

/** New calls are announced and not inserted, so that no row moves under the pointer. */
function Announcement({ live }: { live: LiveCalls }) {
  const calls = live.newCalls;
  return (
    <span class="announcement">
      <span class="unseen" role="status">
        {calls > 0 && "There are new calls."}
      </span>
      {calls > 0 && (
        <button type="button" onClick={live.show}>
          {live.isExact
            ? `${number(calls)} new ${calls === 1 ? "call" : "calls"}: show`
            : "Calls have changed: load again"}
        </button>
      )}
    </span>
  );
}

/** Gives the focus to the heading when the address asks for another list. */
function useFocusOnHeading(asked: string): void {
  const before = useRef(asked);
  useEffect(() => {
    if (before.current !== asked) document.querySelector<HTMLElement>("main h1")?.focus();
    before.current = asked;
  }, [asked]);
}

function List({ calls, gone }: { calls: readonly Call[]; gone: ReadonlySet<string> }) {
  const { timeZone } = useSession();
  return (
    <Scrolled label="List of calls">
      <table class="calls">
        <Columns
          names={["Created", "From", "To", "Direction", "Status", "Duration", "Cost", "Hangup cause", "Has"]}
        />
        <tbody>
          {calls.map((call) => (
            <tr key={call.id} data-call={call.id} class={gone.has(call.id) ? "gone" : undefined}>
              <td data-name="Created">
                {gone.has(call.id) ? (
                  `${instant(call.created_at, timeZone)} (deleted)`
                ) : (
                  <a href={callAt(call.id)}>{instant(call.created_at, timeZone)}</a>
                )}
              </td>
              <td data-name="From">{call.from_number ?? NONE}</td>
              <td data-name="To">{call.to_number ?? NONE}</td>
              <td data-name="Direction">{call.direction ?? NONE}</td>
              <td data-name="Status">
                <StatusMark status={call.status} />
              </td>
              <td data-name="Duration">{duration(call.duration)}</td>
              <td data-name="Cost">{money(call.cost)}</td>
              <td data-name="Hangup cause">{call.hangup_cause ? words(call.hangup_cause) : NONE}</td>
              <td data-name="Has">
                {[call.recording_url && "recording", call.transcript && "transcript"]
                  .filter(Boolean)
                  .join(", ") || NONE}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scrolled>
  );
}
