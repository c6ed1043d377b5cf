/** The telephony systems that deliver in their own form. */

import { quarantineAt, sourceAt } from "../../addresses";
import { type Source, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { usePolling } from "../../api/use-polling";
import { counted, number } from "../../format";
import { Columns } from "../../ui/columns";
import { Heading } from "../../ui/frame";
import { Empty, Loading, Problem } from "../../ui/states";

const REFRESH_MILLISECONDS = 10_000;

export function SourcesPage() {
  const admin = useAdmin();
  const answer = useAnswer("sources", (signal) => admin.sources(signal));
  usePolling(answer, REFRESH_MILLISECONDS);
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Sources">Sources</Heading>
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="the sources" />
      ) : content.length === 0 ? (
        <Empty>
          There is no source. <code>callfold source add</code> creates one. Producers of events need none.
        </Empty>
      ) : (
        <List sources={content} />
      )}
    </>
  );
}

function List({ sources }: { sources: readonly Source[] }) {
  return (
    <>
      <table class="stacked">
        <caption class="unseen">Sources by name</caption>
        <Columns names={["Source", "Delivers to", "State", "Organization", "Waiting", "Quarantined"]} />
        <tbody>
          {sources.map((source) => (
            <tr key={source.id}>
              <th scope="row" data-name="Source">
                <span>
                  <a href={sourceAt(source.id)}>{source.name}</a> <span class="note">{source.dialect}</span>
                </span>
              </th>
              <td data-name="Delivers to" class="long">
                <span>
                  {source.kind === "http" ? "the receiver, " : "the topic "}
                  <code>{source.hook_path ?? source.topic}</code>
                </span>
              </td>
              <td data-name="State">
                <span class="mark" data-mark={source.enabled ? "good" : "bad"}>
                  {source.enabled ? "enabled" : "disabled"}
                </span>
              </td>
              <td data-name="Organization" class="long">
                <span>
                  {source.organization_name ?? "each record names one"}
                  {source.organizations_mapped > 0 && (
                    <span class="note"> ({counted(source.organizations_mapped, "value")} mapped)</span>
                  )}
                </span>
              </td>
              <td data-name="Waiting">{number(source.waiting_records)}</td>
              <td data-name="Quarantined">
                {source.topic && source.quarantined_records > 0 ? (
                  <a href={quarantineAt({ topic: source.topic })}>{number(source.quarantined_records)}</a>
                ) : (
                  number(source.quarantined_records)
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        Waiting: deliveries that no delivery has given an organization yet. Ingest retries them when one does.
      </p>
    </>
  );
}
