/** Proofs that all counts are exact: the last one, a new one, and the ones before. */

import { useState } from "preact/hooks";
import { proofAt } from "../../addresses";
import { type Proof, useAdmin } from "../../api/admin";
import { useAction } from "../../api/use-action";
import { useAnswer } from "../../api/use-answer";
import { usePolling } from "../../api/use-polling";
import { number, utc } from "../../format";
import { Columns } from "../../ui/columns";
import { Heading } from "../../ui/frame";
import { Scrolled } from "../../ui/scrolled";
import { Empty, Loading, Problem, Refusal } from "../../ui/states";
import { lasted, Mark, Result } from "./proofs/result";

const REFRESH_MILLISECONDS = 10_000;
const PROGRESS_MILLISECONDS = 1_000;

export function ProofsPage() {
  const admin = useAdmin();
  const answer = useAnswer("proofs", (signal) => admin.proofs(signal));
  const [last, ...earlier] = answer.content ?? [];
  const [started, setStarted] = useState<string | null>(null);
  const isNew = started !== null && !answer.content?.some((proof) => proof.id === started);
  const runs = isNew || last?.state === "running";
  usePolling(answer, runs ? PROGRESS_MILLISECONDS : REFRESH_MILLISECONDS);
  const { content, failure } = answer;
  return (
    <>
      <Heading title="Proofs">Proofs</Heading>
      <p>
        A proof folds every call again from its events, and compares all counts with the calls. It reads one
        snapshot of the database, and changes nothing.
      </p>
      <Start
        runs={runs}
        onStarted={(proof) => {
          setStarted(proof.id);
          answer.reload();
        }}
      />
      {failure && <Problem failure={failure} onRetry={answer.reload} />}
      {content === null ? (
        !failure && <Loading what="the proofs" />
      ) : last === undefined ? (
        <Empty>
          There is no recorded proof. <code>callfold verify --record</code> also records one.
        </Empty>
      ) : (
        <>
          <Result proof={last} />
          <Earlier proofs={earlier} />
        </>
      )}
    </>
  );
}

function Start({ runs, onStarted }: { runs: boolean; onStarted: (proof: Proof) => void }) {
  const admin = useAdmin();
  const start = useAction(() => admin.startProof(), onStarted);
  const isBusy = runs || start.isBusy;
  return (
    <>
      {/* A disabled button would lose the focus. */}
      <button
        type="button"
        class="primary"
        aria-disabled={isBusy}
        onClick={() => {
          if (!isBusy) start.run();
        }}
      >
        {runs ? "A proof is running …" : start.isBusy ? "Starting …" : "Prove now"}
      </button>
      {start.failure && <Refusal failure={start.failure} />}
    </>
  );
}

function Earlier({ proofs }: { proofs: readonly Proof[] }) {
  return (
    <section>
      <h2 id="earlier">Earlier proofs</h2>
      {proofs.length === 0 ? (
        <Empty>There is no earlier proof.</Empty>
      ) : (
        <Scrolled label="Earlier proofs">
          <table aria-labelledby="earlier">
            <Columns names={["Started", "Result", "Counts", "Calls", "Differences", "Duration"]} />
            <tbody>
              {proofs.map((proof) => (
                <tr key={proof.id}>
                  <th scope="row">
                    <a href={proofAt(proof.id)}>{utc(proof.started_at)}</a>
                  </th>
                  <td>
                    <Mark proof={proof} />
                  </td>
                  <td>{number(proof.cells)}</td>
                  <td>{number(proof.calls)}</td>
                  <td>{number(proof.differences_found)}</td>
                  <td>{lasted(proof)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scrolled>
      )}
    </section>
  );
}
