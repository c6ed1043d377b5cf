/** One recorded proof. */

import { useRoute } from "preact-iso";
import { proofsAt } from "../../addresses";
import { useAdmin } from "../../api/admin";
import { useAnswer } from "../../api/use-answer";
import { usePolling } from "../../api/use-polling";
import { Heading } from "../../ui/frame";
import { Loading, Problem } from "../../ui/states";
import { Result } from "./proofs/result";

const PROGRESS_MILLISECONDS = 1_000;

export function ProofPage() {
  const { params } = useRoute();
  const id = params.id ?? "";
  const admin = useAdmin();
  const answer = useAnswer(`proof ${id}`, (signal) => admin.proof(id, signal));
  usePolling(answer, answer.content?.state === "running" ? PROGRESS_MILLISECONDS : null);
  return (
    <>
      <Heading title="Proof">Proof</Heading>
      {answer.failure && <Problem failure={answer.failure} onRetry={answer.reload} />}
      {answer.content ? <Result proof={answer.content} /> : !answer.failure && <Loading what="the proof" />}
      <p>
        <a href={proofsAt()}>Go to all proofs</a>
      </p>
    </>
  );
}
