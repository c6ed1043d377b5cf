/** One call: its time line, its fields, its recordings and transcript, its events, and its deletion. */

import { useState } from "preact/hooks";
import { useLocation, useRoute } from "preact-iso";
import { callsAt } from "../addresses";
import type { CallDetail } from "../api/client";
import { Failure } from "../api/failure";
import { useSession } from "../api/session";
import { useAnswer, useApi, useChanges, useThrottled } from "../api/use-answer";
import { duration, instant, money, NONE, number, words } from "../format";
import { Fields } from "../ui/fields";
import { Heading } from "../ui/frame";
import { Loading, Problem, Refusal } from "../ui/states";
import { StatusMark } from "../ui/status-mark";
import { TypedConfirmation } from "../ui/typed-confirmation";
import { Events } from "./call/events";
import { Recordings } from "./call/recordings";
import { TimeLine } from "./call/time-line";

const REFRESH_MILLISECONDS = 500;

export function CallPage() {
  const { params } = useRoute();
  const id = params.id ?? "";
  const api = useApi();
  const [isDeleted, setDeleted] = useState(false);
  const answer = useAnswer(isDeleted ? null : `call ${id}`, (signal) => api.call(id, signal));
  const refresh = useThrottled(answer.refresh, REFRESH_MILLISECONDS);
  useChanges((change) => {
    if (change.type === "deleted" && change.id === id) setDeleted(true);
    else if (change.type === "reset" || (change.type === "changed" && change.call.id === id)) refresh();
  });
  const call = answer.content;
  return (
    <>
      <Heading title={call ? `Call ${call.id.slice(0, 8)}` : "Call"}>
        {call ? `${call.from_number ?? NONE} → ${call.to_number ?? NONE}` : "Call"}
      </Heading>
      {isDeleted ? (
        <p role="status">
          This call is deleted. <a href={callsAt()}>Go to the calls</a>
        </p>
      ) : answer.failure ? (
        <>
          <Problem failure={answer.failure} onRetry={answer.reload} />
          <p>
            <a href={callsAt()}>Go to the calls</a>
          </p>
        </>
      ) : call === null ? (
        <Loading what="the call" />
      ) : (
        <Detail call={call} onDeleted={() => setDeleted(true)} />
      )}
    </>
  );
}

function Detail({ call, onDeleted }: { call: CallDetail; onDeleted: () => void }) {
  return (
    <>
      <p class="note">
        <StatusMark status={call.status} /> {call.livemode ? "" : "· test call "}· <code>{call.id}</code>
      </p>
      <TimeLine call={call} />
      <div class="columns">
        <FieldsOfCall call={call} />
        <div>
          <Recordings call={call} />
          <section>
            <h2>Transcript</h2>
            {call.transcript ? (
              <p class="transcript">{call.transcript}</p>
            ) : (
              <p class="state">There is none.</p>
            )}
          </section>
        </div>
      </div>
      <Events call={call} />
      <Deletion call={call} onDeleted={onDeleted} />
    </>
  );
}

function FieldsOfCall({ call }: { call: CallDetail }) {
  const { timeZone } = useSession();
  const fields: readonly (readonly [string, string | null])[] = [
    ["Direction", call.direction],
    ["From", call.from_number],
    ["To", call.to_number],
    ["Created", instant(call.created_at, timeZone)],
    ["Answered", instant(call.answered_at, timeZone)],
    ["Ended", instant(call.completed_at, timeZone)],
    ["Duration", duration(call.duration)],
    ["Cost", money(call.cost)],
    ["Latency", call.latency_ms === null ? null : `${number(call.latency_ms)} ms`],
    ["Hangup cause", call.hangup_cause && words(call.hangup_cause)],
    ["Id of the source", call.external_id],
    ["Phone number id", call.phone_number_id],
    ["Endpoint id", call.endpoint_id],
    ["Organization", call.organization_id],
    ["Recording", call.recording_url],
  ];
  return <Fields fields={fields} />;
}

function Deletion({ call, onDeleted }: { call: CallDetail; onDeleted: () => void }) {
  const api = useApi();
  const { route } = useLocation();
  const [isAsking, setAsking] = useState(false);
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);

  async function remove() {
    setBusy(true);
    try {
      await api.remove(call.id, new AbortController().signal);
      onDeleted();
      route(callsAt());
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  return (
    <section>
      <h2>Delete</h2>
      <p>Deletion removes the call, its events and its share of all counts. It cannot be undone.</p>
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        Delete this call …
      </button>
      {isAsking && (
        <TypedConfirmation
          title="Delete this call?"
          word={call.id.slice(0, 8)}
          action="Delete permanently"
          isBusy={isBusy}
          onConfirm={remove}
          onCancel={() => {
            setAsking(false);
            setFailure(null);
          }}
        >
          <p>
            {call.from_number ?? NONE} → {call.to_number ?? NONE}, {words(call.status)}
          </p>
          {failure && <Refusal failure={failure} />}
        </TypedConfirmation>
      )}
    </section>
  );
}
