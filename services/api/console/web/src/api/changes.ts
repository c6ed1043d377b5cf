/** The changes of calls, from GET /calls/stream, across reconnections. */

import { createParser } from "eventsource-parser";
import { type Call, headersOf } from "./client";
import { type Failure, failureOf } from "./failure";
import type { Session } from "./session";

export type Change =
  | { readonly type: "changed"; readonly call: Call }
  | { readonly type: "deleted"; readonly id: string }
  | { readonly type: "reset" };

/** Whether changes arrive; `refused`: the API does not offer them to this credential. */
export type Connection = "connecting" | "live" | "refused";

const PAUSE_MILLISECONDS = 3_000;
const SILENCE_MILLISECONDS = 45_000;

/** How far the changes were read: the id of the last event or heartbeat. Empty: none was read. */
export interface Position {
  lastId: string;
}

/** Calls `onChange` for each change after `position`, until `signal` aborts. Without a position, changes may have been
 * missed, so a reset comes first. Calls `onRefused` when the credential is not accepted. */
export async function follow(
  session: Session,
  position: Position,
  onChange: (change: Change) => void,
  onConnection: (connection: Connection) => void,
  onRefused: (failure: Failure) => void,
  signal: AbortSignal,
): Promise<void> {
  let pause = PAUSE_MILLISECONDS;
  while (!signal.aborted) {
    onConnection("connecting");
    const silence = new AbortController();
    const ended = AbortSignal.any([signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), SILENCE_MILLISECONDS);
    try {
      const headers = { ...headersOf(session), "Last-Event-ID": position.lastId };
      const answer = await fetch("/calls/stream", { headers, signal: ended });
      if (answer.status === 401) return onRefused(failureOf(answer, await answer.json()));
      if ([400, 403].includes(answer.status)) return onConnection("refused");
      pause = Number(answer.headers.get("Retry-After")) * 1000 || PAUSE_MILLISECONDS;
      if (answer.ok && answer.body) {
        onConnection("live");
        if (position.lastId === "") onChange({ type: "reset" });
        const parser = createParser({
          onRetry: (milliseconds) => {
            pause = milliseconds;
          },
          onId: (id) => {
            position.lastId = id;
          },
          onEvent: (event) => {
            const change = changeOf(event.event, event.data);
            if (change) onChange(change);
          },
        });
        for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
          clearTimeout(timer);
          timer = setTimeout(() => silence.abort(), SILENCE_MILLISECONDS);
          parser.feed(text);
        }
      }
    } catch {
      // The connection is lost. The next request resumes after the last event.
    } finally {
      clearTimeout(timer);
    }
    if (!signal.aborted) await paused(pause, signal);
  }
}

function changeOf(name: string | undefined, data: string): Change | null {
  if (name === "call.changed") return { type: "changed", call: JSON.parse(data) as Call };
  if (name === "call.deleted") return { type: "deleted", id: (JSON.parse(data) as { id: string }).id };
  return name === "reset" ? { type: "reset" } : null;
}

function paused(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
