/** The overview: figures of a span of days, each with a link to the calls that it counts. */

import { useContext, useEffect } from "preact/hooks";
import { useLocation } from "preact-iso";
import { callsAt, type Filters, overviewAt } from "../addresses";
import type { Connection } from "../api/changes";
import type { CallStats, CallTrends } from "../api/client";
import { TimeZoneContext, useSession } from "../api/session";
import { type Answer, useAnswer, useApi, useChanges, useThrottled } from "../api/use-answer";
import { usePolling } from "../api/use-polling";
import { day, number, words } from "../format";
import { DAYS_OFFERED, fits, INTERVALS, type Span, spanOf } from "../span";
import { STATUSES } from "../statuses";
import { Choice } from "../ui/choice";
import { Columns } from "../ui/columns";
import { Heading } from "../ui/frame";
import { LiveMark } from "../ui/live-mark";
import { Empty, Loading, Problem } from "../ui/states";
import { StatusMark } from "../ui/status-mark";
import { BusiestNumbers } from "./overview/busiest-numbers";
import { daysOf, Tiles } from "./overview/tiles";
import { Trends } from "./overview/trends";

/** Changes are many, and each answer takes the API a moment. */
const REFRESH_MILLISECONDS = 3_000;
/** Without the stream, the page asks for the figures. */
const POLLING_MILLISECONDS = 30_000;

const DIRECTIONS = ["", "inbound", "outbound", "unknown"];

export function OverviewPage() {
  const session = useSession();
  const { query } = useLocation();
  const span = spanOf(query, session.timeZone);
  const kept: Record<string, string> = {};
  for (const name of ["direction", "phone_number_id"]) if (query[name]) kept[name] = query[name];
  const filters = { start_date: span.start, end_date: span.end, ...kept };
  const { content, failure, isLoading, reload, connection } = useFigures(filters, span);
  return (
    <>
      <Heading title="Overview">Overview</Heading>
      <Spans query={query} span={span} />
      <LiveMark connection={connection} />
      {failure && <Problem failure={failure} onRetry={reload} />}
      {content ? (
        <div aria-busy={isLoading}>
          <Figures {...content} />
        </div>
      ) : (
        !failure && <Loading what="the figures" />
      )}
    </>
  );
}

/** Figures with what they are of, so that their links fit them while others are loaded. */
interface AnsweredFigures {
  readonly stats: CallStats;
  readonly trends: CallTrends;
  readonly span: Span;
  readonly filters: Filters;
}

/** The figures of the span, and of the days just before it. They are loaded again when calls change. */
function useFigures(
  filters: Filters,
  span: Span,
): Answer<AnsweredFigures> & { readonly connection: Connection } {
  const api = useApi();
  const answer = useAnswer(JSON.stringify([filters, span.interval]), async (signal) => {
    const asked = { ...filters, compare: "previous" };
    const [stats, trends] = await Promise.all([
      api.stats(asked, signal),
      api.trends({ ...asked, interval: span.interval }, signal),
    ]);
    return { stats, trends, span, filters };
  });
  const onTimeZone = useContext(TimeZoneContext);
  const timeZone = answer.content?.stats.time_zone;
  useEffect(() => {
    if (timeZone) onTimeZone(timeZone);
  }, [timeZone, onTimeZone]);
  const connection = useChanges(useThrottled(answer.refresh, REFRESH_MILLISECONDS));
  usePolling(answer, connection === "live" ? null : POLLING_MILLISECONDS);
  return { ...answer, connection };
}

function Spans({ query, span }: { query: Filters; span: Span }) {
  const { route } = useLocation();
  const { start_date: _start, end_date: _end, days: _days, ...kept } = query;
  const isOfDays = !query.start_date && !query.end_date;
  return (
    <div class="toolbar">
      <Choice
        label="Span"
        options={DAYS_OFFERED.map((days) => ({
          name: `${days} days`,
          href: overviewAt({ ...kept, days: `${days}` }),
          isChosen: isOfDays && span.days === days,
        }))}
      />
      <form
        class="span"
        aria-label="Span of days"
        onSubmit={(event) => {
          event.preventDefault();
          const days = Object.fromEntries(new FormData(event.currentTarget)) as Filters;
          route(overviewAt({ ...kept, ...days }));
        }}
      >
        <label>
          <span>From</span>
          <input key={span.start} type="date" name="start_date" required defaultValue={span.start} />
        </label>
        <label>
          <span>To</span>
          <input key={span.end} type="date" name="end_date" required defaultValue={span.end} />
        </label>
        <button type="submit">Show</button>
      </form>
      <Choice
        label="Direction"
        options={DIRECTIONS.map((direction) => ({
          name: direction === "" ? "All" : direction,
          href: overviewAt({ ...query, direction }),
          isChosen: (query.direction ?? "") === direction,
        }))}
      />
      {query.phone_number_id && (
        <a href={overviewAt({ ...query, phone_number_id: "" })}>Show all phone numbers</a>
      )}
      <Choice
        label="Interval"
        options={INTERVALS.filter((interval) => fits(interval, span.days)).map((interval) => ({
          name: `By ${interval}`,
          href: overviewAt({ ...query, interval }),
          isChosen: span.interval === interval,
        }))}
      />
    </div>
  );
}

function Figures({ stats, trends, span, filters }: AnsweredFigures) {
  const before = stats.previous;
  return (
    <>
      <p class="note">
        {day(span.start)} to {day(span.end)}, days of {stats.time_zone}
        {before?.start_date && before.end_date && (
          <>
            {" "}
            · compared with {day(before.start_date)} to {day(before.end_date)}
          </>
        )}
      </p>
      <Tiles stats={stats} filters={filters} />
      {stats.total === 0 && <Empty>There are no calls in this span.</Empty>}
      <Trends trends={trends} filters={filters} days={span.days} />
      <div class="columns">
        <Breakdown stats={stats} filters={filters} />
        <Causes causes={stats.hangup_causes} filters={filters} />
        <BusiestNumbers filters={filters} total={stats.total} />
      </div>
    </>
  );
}

function Breakdown({ stats, filters }: { stats: CallStats; filters: Filters }) {
  return (
    <section>
      <h2>Status</h2>
      <table class="counts">
        <Columns names={["Status", "Calls", "Before"]} />
        <tbody>
          {STATUSES.map((status) => (
            <tr key={status}>
              <th scope="row">
                <StatusMark status={status} />
              </th>
              <td>
                <a href={callsAt({ ...filters, status })}>{number(stats.by_status[status])}</a>
              </td>
              <td>
                {stats.previous && (
                  <a href={callsAt({ ...filters, ...daysOf(stats.previous), status })}>
                    {number(stats.previous.by_status[status])}
                  </a>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Causes({ causes, filters }: { causes: Readonly<Record<string, number>>; filters: Filters }) {
  const entries = Object.entries(causes);
  return (
    <section>
      <h2>Hangup causes</h2>
      {entries.length === 0 ? (
        <Empty>No call has ended.</Empty>
      ) : (
        <table class="counts">
          <Columns names={["Cause", "Ended calls"]} />
          <tbody>
            {entries.map(([cause, calls]) => (
              <tr key={cause}>
                <th scope="row">{cause === "NONE" ? "no cause" : words(cause)}</th>
                <td>
                  <a href={callsAt({ ...filters, counted_cause: cause })}>{number(calls)}</a>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}
