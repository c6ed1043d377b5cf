/** The counts of each interval: bars by status with the previous period, and a table of the same numbers. */

import { useLocation } from "preact-iso";
import { callsAt, type Filters } from "../../addresses";
import type { CallTrends } from "../../api/client";
import { number, words } from "../../format";
import { filtersBefore, filtersOf, nameOf, type Row } from "../../span";
import { colourOf, STATUSES } from "../../statuses";
import { BarChart } from "../../ui/bar-chart";
import { Scrolled } from "../../ui/scrolled";

interface TrendsProps {
  readonly trends: CallTrends;
  readonly filters: Filters;
  /** The length of the span. The previous period has the same length. */
  readonly days: number;
}

export function Trends({ trends, filters, days }: TrendsProps) {
  const { route } = useLocation();
  const rows = trends.data;
  const names = rows.map((row) => nameOf(row, trends.interval, trends.time_zone));
  const series = STATUSES.map((status) => ({
    name: words(status),
    colour: () => colourOf(status),
    values: rows.map((row) => row.by_status[status]),
  }));
  const previous = {
    name: "all, before",
    colour: () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim(),
    values: rows.map((row) => row.previous?.total ?? 0),
  };
  const of = (index: number): Filters => {
    const row = rows[index];
    return row ? { ...filters, ...filtersOf(row, rows[index + 1]) } : filters;
  };
  const before = (row: Row) => {
    const list = filtersBefore(row, days);
    const calls = number(row.previous?.total);
    return list === null ? calls : <a href={callsAt({ ...filters, ...list })}>{calls}</a>;
  };
  return (
    <section>
      <h2>Calls by {trends.interval}</h2>
      <BarChart
        label={`Calls by ${trends.interval} and status. The table below has the same numbers.`}
        names={names}
        series={series}
        line={previous}
        onChoose={(index) => route(callsAt(of(index)))}
      />
      <details>
        <summary>The same numbers as a table</summary>
        <Scrolled label={`Calls by ${trends.interval}`}>
          <table class="counts">
            <thead>
              <tr>
                <th scope="col">{trends.interval}</th>
                <th scope="col">calls</th>
                <th scope="col">before</th>
                {STATUSES.map((status) => (
                  <th key={status} scope="col">
                    {words(status)}
                  </th>
                ))}
                <th scope="col">answered</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row, index) => (
                <tr key={row.hour_start ?? row.date}>
                  <th scope="row">{names[index]}</th>
                  <td>
                    <a href={callsAt(of(index))}>{number(row.total)}</a>
                  </td>
                  <td>{before(row)}</td>
                  {STATUSES.map((status) => (
                    <td key={status}>
                      <a href={callsAt({ ...of(index), status })}>{number(row.by_status[status])}</a>
                    </td>
                  ))}
                  <td>
                    <a href={callsAt({ ...of(index), answered: "true" })}>{number(row.answered)}</a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scrolled>
      </details>
    </section>
  );
}
