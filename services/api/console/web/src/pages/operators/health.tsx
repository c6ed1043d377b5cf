/** The health of the pipeline: what ingest, the aggregator and the publisher have yet to do. */

import { type Lag, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { usePolling } from "../../api/use-polling";
import { age, counted, number, rate, utc } from "../../format";
import { Heading } from "../../ui/frame";
import { LineChart } from "../../ui/line-chart";
import { Empty, Loading, Problem } from "../../ui/states";
import { Partitions } from "./health/partitions";
import { type Point, useHistory } from "./health/use-history";

const REFRESH_MILLISECONDS = 2_000;

export function HealthPage() {
  const admin = useAdmin();
  const answer = useAnswer("lag", (signal) => admin.lag(signal));
  usePolling(answer, REFRESH_MILLISECONDS);
  const { content, failure } = answer;
  const points = useHistory(content);
  return (
    <>
      <Heading title="Health">Health</Heading>
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="the lag" />
      ) : (
        <>
          <p class="note">
            The API measured this at {utc(content.at)} UTC. The page asks again every 2 s while you see it.
          </p>
          <Figures lag={content} latest={points.at(-1)} />
          <History points={points} />
          <Partitions topics={content.topics} />
        </>
      )}
    </>
  );
}

function Figures({ lag, latest }: { lag: Lag; latest: Point | undefined }) {
  const oldest = lag.oldest_delta_seconds;
  const tiles = [
    {
      name: "Lag",
      figure: number(latest?.lag),
      meaning: latest?.lag === 0 ? "Ingest has read all records." : "Ingest has not read these records.",
    },
    {
      name: "Ingest rate",
      figure: `${rate(latest?.rate)} /s`,
      meaning:
        latest?.rate == null
          ? "Two measurements give the rate."
          : "Ingest read so many records per second since the measurement before.",
    },
    {
      name: "Waiting deltas",
      figure: number(lag.waiting_deltas),
      meaning:
        oldest === null
          ? "The aggregator has applied all changes of counts."
          : `The aggregator has not applied these changes of counts. The oldest waits ${age(oldest)}.`,
    },
    {
      name: "Outbox",
      figure: `${lag.outbox_is_more ? "> " : ""}${number(lag.outbox_changes)}`,
      meaning:
        lag.outbox_changes === 0
          ? "The publisher has published all changed calls."
          : "The publisher has not published the calls that these statements changed.",
    },
  ];
  return (
    <ul class="tiles wide">
      {tiles.map((tile) => (
        <li key={tile.name} class="tile">
          <h2>{tile.name}</h2>
          <p class="figure">{tile.figure}</p>
          <p class="behind">{tile.meaning}</p>
        </li>
      ))}
    </ul>
  );
}

function History({ points }: { points: readonly Point[] }) {
  const lags = points.map((point) => point.lag);
  const rates = points.map((point) => point.rate);
  const highest = (values: readonly (number | null)[]) => Math.max(0, ...values.map((value) => value ?? 0));
  return (
    <section>
      <h2>Since you opened this page</h2>
      {points.length < 2 ? (
        <Empty>The lines begin with the second measurement.</Empty>
      ) : (
        <LineChart
          label={
            `Lag and ingest rate of ${counted(points.length, "measurement")}. ` +
            `The highest lag is ${counted(highest(lags), "record")}. ` +
            `The highest rate is ${rate(highest(rates))} records per second.`
          }
          times={points.map((point) => point.at)}
          left={{ name: "Lag, records", colour: "in-progress", values: lags }}
          right={{ name: "Rate, records/s", colour: "no-answer", values: rates }}
        />
      )}
    </section>
  );
}
