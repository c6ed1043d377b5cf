/** The time line of a call: its ringing and its talk to scale, with a mark for each event. */

import type { CallDetail, CallEvent } from "../../api/client";
import { useSession } from "../../api/session";
import { duration, milliseconds, timeOfDay, words } from "../../format";

const WIDTH = 1000;
const HEIGHT = 44;
/** The id and type of an end that callfold made up, because none arrived. */
export const MADE_UP_END = "callfold.missing_hangup";
/** How sources name the side that ended a call. */
const ENDED_BY = [
  "ended_by",
  "hangup_source",
  "call_ended_by",
  "disconnected_by",
  "hangup_by",
  "released_by",
];

interface Phase {
  readonly name: "ringing" | "talk";
  readonly start: number;
  readonly end: number;
}

export function TimeLine({ call }: { call: CallDetail }) {
  const { timeZone } = useSession();
  const times = call.events.map((event) => Date.parse(event.timestamp));
  const created = Date.parse(call.created_at);
  const ended = call.completed_at === null ? null : Date.parse(call.completed_at);
  const start = Math.min(created, ...times);
  const end = Math.max(created + 1, ended ?? 0, ...times);
  const at = (time: number) => ((time - start) / (end - start)) * WIDTH;
  const phases = phasesOf(call, ended ?? end);
  return (
    <section>
      <h2>Time line</h2>
      <svg class="time-line" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img">
        <title>{summary(call, phases)}</title>
        <rect class="ground" x={0} y={14} width={WIDTH} height={16} />
        {phases.map((phase) => (
          <rect
            key={phase.name}
            class={phase.name}
            x={at(phase.start)}
            y={14}
            width={Math.max(2, at(phase.end) - at(phase.start))}
            height={16}
          />
        ))}
        {call.events.map((event, index) => (
          <line
            key={event.id}
            class={event.type === MADE_UP_END ? "made-up" : "event"}
            x1={at(times[index] ?? start)}
            x2={at(times[index] ?? start)}
            y1={4}
            y2={40}
          />
        ))}
      </svg>
      <ol class="phases">
        <li>
          {timeOfDay(call.created_at, timeZone)} <strong>created</strong>
        </li>
        {phases.map((phase) => (
          <li key={phase.name} data-phase={phase.name}>
            <strong>{phase.name}</strong> {milliseconds(phase.end - phase.start)}
          </li>
        ))}
        <li>{endOf(call, timeZone)}</li>
      </ol>
    </section>
  );
}

/** The time of ringing, and the time of the talk. */
function phasesOf(call: CallDetail, end: number): Phase[] {
  const created = Date.parse(call.created_at);
  if (call.answered_at === null) return [{ name: "ringing", start: created, end }];
  const answered = Date.parse(call.answered_at);
  return [
    { name: "ringing", start: created, end: answered },
    { name: "talk", start: answered, end },
  ];
}

function endOf(call: CallDetail, timeZone: string) {
  if (call.completed_at === null) return <strong>still going on</strong>;
  const isMadeUp = call.events.some((event) => event.type === MADE_UP_END);
  const by = endedBy(call.events);
  return (
    <>
      {timeOfDay(call.completed_at, timeZone)} <strong>ended: {words(call.status)}</strong>
      {by && ` by ${by}`}
      {call.hangup_cause && `, ${words(call.hangup_cause)}`}
      {isMadeUp && (
        <>
          {" "}
          <span class="made-up">no end arrived: callfold made up this one</span>
        </>
      )}
    </>
  );
}

/** Who ended the call, as its source says; null if it does not. */
function endedBy(events: readonly CallEvent[]): string | null {
  for (const event of events.toReversed()) {
    for (const name of ENDED_BY) {
      const value = event.data[name];
      if (typeof value === "string" && value !== "") return value;
    }
  }
  return null;
}

const summary = (call: CallDetail, phases: readonly Phase[]) =>
  `${phases.map((phase) => `${phase.name} ${milliseconds(phase.end - phase.start)}`).join(", ")}; ${words(call.status)}, duration ${duration(call.duration)}`;
