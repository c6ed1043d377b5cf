/** One quarantined record as a person reads it. */

import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";
import { quarantineAt } from "../../addresses";
import { type Bytes, type QuarantinedContent, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { counted, utc } from "../../format";
import { Fields } from "../../ui/fields";
import { Heading } from "../../ui/frame";
import { Loading, Problem } from "../../ui/states";
import { Actions } from "./quarantine/actions";
import { type Done, Outcome } from "./quarantine/outcome";
import { sentence } from "./quarantine/sentence";

/** The call of a record that names several. */
const SEVERAL_CALLS = "00000000-0000-0000-0000-000000000000";

export function RecordPage() {
  const { params } = useRoute();
  const id = params.id ?? "";
  const admin = useAdmin();
  const [done, setDone] = useState<Done | null>(null);
  const isGone = done !== null && ("discarded" in done || done.redriven.still_quarantined === 0);
  const answer = useAnswer(isGone ? null : `record ${id}`, (signal) => admin.record(id, signal));
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Quarantined record">Quarantined record</Heading>
      {done && <Outcome done={done} />}
      {!isGone && failure && <Problem failure={failure} onRetry={answer.reload} />}
      {!isGone && !failure && content === null && <Loading what="the record" />}
      {!isGone && content !== null && (
        <Content
          record={content}
          onDone={(next) => {
            setDone(next);
            answer.reload();
          }}
        />
      )}
      <p>
        <a href={quarantineAt()}>Go to the quarantine</a>
      </p>
    </>
  );
}

function Content({ record, onDone }: { record: QuarantinedContent; onDone: (done: Done) => void }) {
  return (
    <>
      <p class="verdict">{sentence(record.reason)}</p>
      {record.waits && (
        <p class="note">
          The record waits. Ingest retries it by itself when another delivery names its organization.
        </p>
      )}
      <Actions ids={[record.id]} onDone={onDone} />
      <div class="columns">
        <FieldsOfRecord record={record} />
        <section>
          <h2>Headers</h2>
          {record.headers.length === 0 ? (
            <p class="state">The record has none.</p>
          ) : (
            <dl class="fields-of-call">
              {record.headers.map((header, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: headers may repeat, and do not change.
                <div key={index}>
                  <dt>{header.name}</dt>
                  <dd>
                    <Text bytes={header.value} isShort />
                  </dd>
                </div>
              ))}
            </dl>
          )}
          <h2>Key</h2>
          <Text bytes={record.key} isShort />
        </section>
      </div>
      <section>
        <h2>Value</h2>
        <Text bytes={record.value} />
      </section>
    </>
  );
}

function FieldsOfRecord({ record }: { record: QuarantinedContent }) {
  const fields: readonly (readonly [string, string | null])[] = [
    ["Quarantined", utc(record.quarantined_at)],
    ["Time of the record", utc(record.produced_at)],
    ["Topic", record.topic],
    ["Partition", `${record.partition}`],
    ["Offset", `${record.offset}`],
    ["Organization", record.organization_id],
    ["Call", record.call_id === SEVERAL_CALLS ? "several" : record.call_id],
    ["Source", record.source_id],
    ["Id", record.id],
  ];
  return <Fields fields={fields} />;
}

function Text({ bytes, isShort = false }: { bytes: Bytes | null; isShort?: boolean }) {
  if (bytes === null) return <p class="state">There is none, or callfold erased it.</p>;
  if (bytes.size === 0) return <p class="state">It is empty.</p>;
  return (
    <>
      {isShort ? <code class="bytes">{bytes.text}</code> : <pre>{bytes.text}</pre>}
      {!bytes.is_whole && (
        <p class="note">
          This is the beginning of {counted(bytes.size, "byte")}. <code>callfold quarantine show</code> prints
          the same.
        </p>
      )}
    </>
  );
}
