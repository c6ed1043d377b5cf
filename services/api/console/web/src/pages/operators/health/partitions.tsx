/** How far ingest has read each partition of each topic. */

import type { TopicLag } from "../../../api/admin";
import { number } from "../../../format";
import { Columns } from "../../../ui/columns";
import { Scrolled } from "../../../ui/scrolled";

const KINDS: Record<TopicLag["kind"], string> = {
  events: "events",
  deliveries: "requests that the receiver accepted",
  source: "records of one source",
};

export function Partitions({ topics }: { topics: readonly TopicLag[] }) {
  const total = topics.reduce((sum, topic) => sum + topic.lag, 0);
  return (
    <section>
      <h2 id="partitions">Partitions</h2>
      <p class="note">
        Committed: the next offset that ingest reads. End: the offset of the next new record. Lag: the records
        between them.
      </p>
      <Scrolled label="Lag of each partition">
        <table class="counts" aria-labelledby="partitions">
          <Columns names={["Partition", "Committed", "End", "Lag"]} />
          {topics.map((topic) => (
            <Topic key={topic.topic} topic={topic} />
          ))}
          <tfoot>
            <tr>
              <th scope="row" colSpan={3}>
                All topics
              </th>
              <td>{number(total)}</td>
            </tr>
          </tfoot>
        </table>
      </Scrolled>
    </section>
  );
}

function Topic({ topic }: { topic: TopicLag }) {
  return (
    <tbody>
      <tr class="group">
        <th scope="rowgroup" colSpan={3}>
          <strong>{topic.topic}</strong>{" "}
          <span class="note">{topic.exists ? KINDS[topic.kind] : "Kafka has no such topic."}</span>
        </th>
        <td>{topic.exists && number(topic.lag)}</td>
      </tr>
      {topic.partitions.map((each) => (
        <tr key={each.partition}>
          <th scope="row">{each.partition}</th>
          <td>{number(each.committed)}</td>
          <td>{number(each.end)}</td>
          <td>{number(each.lag)}</td>
        </tr>
      ))}
    </tbody>
  );
}
