/** The events of a call, as their source sent them. */

import { useState } from "preact/hooks";
import type { CallDetail, CallEvent } from "../../api/client";
import { Failure } from "../../api/failure";
import { useSession } from "../../api/session";
import { useApi } from "../../api/use-answer";
import { number, timeOfDay } from "../../format";
import { MADE_UP_END } from "./time-line";

export function Events({ call }: { call: CallDetail }) {
  const api = useApi();
  const { timeZone } = useSession();
  const [more, setMore] = useState<readonly CallEvent[]>([]);
  const [message, setMessage] = useState("");
  const events = [...call.events, ...more];

  async function readOn() {
    try {
      const page = await api.events(call.id, events.length, new AbortController().signal);
      setMore((before) => [...before, ...page.data]);
      setMessage("");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setMessage(error.message);
    }
  }

  return (
    <section>
      <h2>Events ({number(call.events_total)})</h2>
      <ol class="events">
        {events.map((event) => (
          <li key={event.id}>
            <details>
              <summary>
                <time dateTime={event.timestamp}>{timeOfDay(event.timestamp, timeZone)}</time>{" "}
                <strong>{event.type}</strong>{" "}
                {event.type === MADE_UP_END && <span class="made-up">made up by callfold</span>}
              </summary>
              <pre>{JSON.stringify(event, null, 2)}</pre>
            </details>
          </li>
        ))}
      </ol>
      {events.length < call.events_total && (
        <button type="button" onClick={readOn}>
          Show more events
        </button>
      )}
      <p role="status">{message}</p>
    </section>
  );
}
