/** The records that ingest did not store as events: their reasons, a list, and what an operator does with them. */

import { useEffect, useState } from "preact/hooks";
import { useLocation } from "preact-iso";
import { type Filters, quarantineAt } from "../../addresses";
import { type QuarantinedRecord, useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { counted } from "../../format";
import { Heading } from "../../ui/frame";
import { Pages } from "../../ui/pages";
import { Empty, Loading, Problem } from "../../ui/states";
import { Actions } from "./quarantine/actions";
import { type Done, Outcome } from "./quarantine/outcome";
import { QuarantineFilters } from "./quarantine/quarantine-filters";
import { Reasons } from "./quarantine/reasons";
import { Records } from "./quarantine/records";

const RECORDS_PER_PAGE = 50;

export function QuarantinePage() {
  const { query } = useLocation();
  const { cursor, ...filters } = query;
  const admin = useAdmin();
  const answer = useAnswer(`records ${JSON.stringify(query)}`, (signal) =>
    admin.records({ limit: RECORDS_PER_PAGE, ...query }, signal),
  );
  const [done, setDone] = useState<Done | null>(null);
  const [actions, setActions] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: an outcome belongs to the page that it was made on.
  useEffect(() => setDone(null), [JSON.stringify(query)]);
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Quarantine">Quarantine</Heading>
      <Reasons filters={filters} changed={actions} />
      <QuarantineFilters filters={filters} />
      {done && <Outcome done={done} />}
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="the records" />
      ) : (
        <section aria-busy={answer.isLoading}>
          {content.data.length === 0 ? (
            <Empty>
              {isFiltered(filters) ? "No record has these properties." : "The quarantine is empty."}
            </Empty>
          ) : (
            <Selection
              records={content.data}
              onDone={(next) => {
                setDone(next);
                setActions((before) => before + 1);
                answer.reload();
              }}
            />
          )}
          <Pages
            first={cursor ? quarantineAt(filters) : null}
            next={content.next_cursor && quarantineAt({ ...filters, cursor: content.next_cursor })}
          />
        </section>
      )}
    </>
  );
}

const isFiltered = (filters: Filters) => Object.values(filters).some((value) => value !== "");

interface SelectionProps {
  readonly records: readonly QuarantinedRecord[];
  readonly onDone: (done: Done) => void;
}

function Selection({ records, onDone }: SelectionProps) {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  // Records of other pages, and records that are gone, are not chosen.
  const ids = records.map((record) => record.id).filter((id) => chosen.has(id));
  return (
    <>
      <div class="toolbar">
        <p class="total" role="status">
          {ids.length === 0 ? "No record selected" : `${counted(ids.length, "record")} selected`}
        </p>
        <Actions
          ids={ids}
          onDone={(done) => {
            setChosen(new Set());
            onDone(done);
          }}
        />
      </div>
      <Records records={records} chosen={new Set(ids)} onChoose={setChosen} />
    </>
  );
}
