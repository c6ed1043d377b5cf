/** What a proof found: one sentence, its progress, and its differences. */

import type { Proof } from "../../../api/admin";
import { counted, duration, NONE, number, utc } from "../../../format";

const MARKS: Record<Proof["state"], readonly [string, string]> = {
  exact: ["EXACT", "good"],
  not_exact: ["NOT EXACT", "bad"],
  failed: ["failed", "bad"],
  lost: ["lost", "warning"],
  running: ["running", "warning"],
};

export function Mark({ proof }: { proof: Proof }) {
  const [name, mark] = MARKS[proof.state];
  return (
    <span class="mark" data-mark={mark}>
      {name}
    </span>
  );
}

export function Result({ proof }: { proof: Proof }) {
  return (
    <section aria-label="Result">
      <p class="verdict" role="status">
        <Mark proof={proof} /> {sentence(proof)}
      </p>
      {proof.state === "running" ? (
        <Progress proof={proof} />
      ) : (
        <p class="note">
          The proof started at {utc(proof.started_at)}
          {proof.finished_at && ` and finished at ${utc(proof.finished_at)}, after ${lasted(proof)}`}. Its id
          is <code>{proof.id}</code>.
        </p>
      )}
      <Differences proof={proof} />
    </section>
  );
}

function sentence(proof: Proof): string {
  switch (proof.state) {
    case "exact":
      return `${examined(proof)} All of them agree.`;
    case "not_exact":
      return proof.differences_found === 0
        ? `${examined(proof)} It found no difference, but an older version folded or placed some calls: ` +
            "run callfold verify, which names them."
        : `${examined(proof)} It found ${counted(proof.differences_found ?? 0, "difference")}.`;
    case "failed":
      return `The proof failed: ${proof.error}`;
    case "lost":
      return `The proof ended without a result. It last ran at ${utc(proof.heartbeat_at)}.`;
    case "running":
      return `The proof has run since ${utc(proof.started_at)}.`;
  }
}

const examined = ({ cells, calls, events, deltas }: Proof) =>
  `The proof examined ${counted(cells ?? 0, "count")} and ${counted(calls ?? 0, "call")} ` +
  `with ${counted(events ?? 0, "event")}${deltas ? `, and ${counted(deltas, "waiting delta")}` : ""}.`;

/** How long the proof took. */
export const lasted = ({ started_at, finished_at }: Proof) =>
  finished_at === null ? NONE : duration((Date.parse(finished_at) - Date.parse(started_at)) / 1000);

function Progress({ proof }: { proof: Proof }) {
  const { calls_done: done, calls_expected: expected } = proof;
  const known = expected !== null && expected > 0;
  return (
    <div class="progress">
      <progress aria-label="Proved calls" {...(known && { max: Math.max(expected, done), value: done })} />
      <span>
        {known
          ? `${number(done)} of about ${counted(expected, "call")}`
          : done > 0
            ? `${counted(done, "call")} proved`
            : "The proof compares the counts."}
      </span>
    </div>
  );
}

function Differences({ proof }: { proof: Proof }) {
  const { differences } = proof;
  if (differences.length === 0) return null;
  const found = proof.differences_found ?? differences.length;
  return (
    <>
      <h2>Differences</h2>
      {found > differences.length && (
        <p class="note">
          These are the first {number(differences.length)} of {number(found)}.
        </p>
      )}
      <ol class="differences">
        {differences.map((difference) => (
          <li key={difference}>{difference}</li>
        ))}
      </ol>
      <p class="note">
        <code>callfold verify</code> prints the values of fields. <code>callfold refold</code> repairs calls,
        and <code>callfold rebuild</code> repairs counts.
      </p>
    </>
  );
}
