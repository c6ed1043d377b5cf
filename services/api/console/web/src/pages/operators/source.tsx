/** One source: its last deliveries, and how ingest would read them now. */

import { useRoute } from "preact-iso";
import { sourcesAt } from "../../addresses";
import { type LastDeliveries, type LastDelivery, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { counted, NONE, number, utc } from "../../format";
import { Columns } from "../../ui/columns";
import { Heading } from "../../ui/frame";
import { Empty, Loading, Problem } from "../../ui/states";

export function SourcePage() {
  const { params } = useRoute();
  const id = params.id ?? "";
  const admin = useAdmin();
  const answer = useAnswer(`source ${id}`, async (signal) => {
    const [sources, deliveries] = await Promise.all([admin.sources(signal), admin.deliveries(id, signal)]);
    return { name: sources.find((source) => source.id === id)?.name ?? "Source", deliveries };
  });
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Source">{content?.name ?? "Source"}</Heading>
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content ? (
        <section aria-busy={answer.isLoading}>
          <div class="toolbar">
            <h2>Last deliveries</h2>
            <button type="button" onClick={answer.reload}>
              Look again
            </button>
          </div>
          <List found={content.deliveries} />
        </section>
      ) : (
        !failure && <Loading what="the last deliveries" />
      )}
      <p>
        <a href={sourcesAt()}>Go to all sources</a>
      </p>
    </>
  );
}

function List({ found }: { found: LastDeliveries }) {
  if (!found.topic_exists) return <Empty>Kafka has no topic {found.topic}.</Empty>;
  const examined = counted(found.records_examined, "newest record");
  return (
    <>
      {found.deliveries.length === 0 ? (
        <Empty>None of the {examined} is of this source.</Empty>
      ) : (
        <table class="stacked">
          <caption class="unseen">The last deliveries, the newest first</caption>
          <Columns names={["Produced", "Partition:offset", "Bytes", "How ingest would read it now"]} />
          <tbody>
            {found.deliveries.map((delivery) => (
              <tr key={`${delivery.partition}:${delivery.offset}`}>
                <th scope="row" data-name="Produced">
                  {delivery.produced_at ? utc(delivery.produced_at) : NONE}
                </th>
                <td data-name="Partition:offset">
                  {delivery.partition}:{delivery.offset}
                </td>
                <td data-name="Bytes">{number(delivery.size_bytes)}</td>
                <td data-name="Read as" class="long">
                  <span>{outcomeOf(delivery)}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="note">
        The API read the {examined} of the topic {found.topic}. The receiver keeps no request that it refuses.
      </p>
    </>
  );
}

function outcomeOf({ events, waiting, reasons }: LastDelivery): string {
  const parts = [
    ...events,
    ...(waiting > 0 ? [`${counted(waiting, "element")} without an organization yet`] : []),
    ...reasons.map((reason) => `quarantined: ${reason}`),
  ];
  return parts.length > 0 ? parts.join("; ") : "nothing about calls";
}
