/** The changes of calls, from GET /calls/stream, across reconnections. */

import { createParser } from "eventsource-parser";
import { type Call, headersOf } from "./client";
import { Failure, failureOf } from "./failure";
import type { Session } from "./session";

export type Change =
  | { readonly type: "changed"; readonly call: Call }
  | { readonly type: "deleted"; readonly id: string }
  | { readonly type: "reset" };

/** Whether changes arrive; `refused`: the API does not offer them to this credential. */
export type Connection = "connecting" | "live" | "refused";

const PAUSE_MILLISECONDS = 3_000;
const SILENCE_MILLISECONDS = 45_000;

/** Calls `onChange` for each change, until `signal` aborts. Throws `Failure` when the API refuses the request. */
export async function follow(
  session: Session,
  onChange: (change: Change) => void,
  onConnection: (connection: Connection) => void,
  signal: AbortSignal,
): Promise<void> {
  let lastId = "";
  let pause = PAUSE_MILLISECONDS;
  while (!signal.aborted) {
    onConnection("connecting");
    const silence = new AbortController();
    const ended = AbortSignal.any([signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), SILENCE_MILLISECONDS);
    try {
      const headers = { ...headersOf(session), "Last-Event-ID": lastId };
      const answer = await fetch("/calls/stream", { headers, signal: ended });
      if ([400, 401, 403].includes(answer.status)) throw failureOf(answer, await answer.json());
      if (answer.ok && answer.body) {
        onConnection("live");
        const parser = createParser({
          onRetry: (milliseconds) => {
            pause = milliseconds;
          },
          onEvent: (event) => {
            lastId = event.id ?? lastId;
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
    } catch (error) {
      if (error instanceof Failure) throw error;
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
