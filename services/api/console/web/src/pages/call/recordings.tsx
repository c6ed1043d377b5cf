/** The recordings of a call. A link is requested only when a person wants to hear one, because it expires. */

import { useState } from "preact/hooks";
import type { CallDetail } from "../../api/client";
import { Failure } from "../../api/failure";
import { useApi } from "../../api/use-answer";
import { duration } from "../../format";

interface Part {
  /** The id of its event; null for the call's only recording. */
  readonly id: string | null;
  readonly seconds: number | null;
  readonly format: string | null;
}

export function Recordings({ call }: { call: CallDetail }) {
  const parts: readonly Part[] = call.recordings.length
    ? call.recordings.map((each) => ({ id: each.id, seconds: each.duration_seconds, format: each.format }))
    : call.recording
      ? [{ id: null, seconds: null, format: null }]
      : [];
  return (
    <section>
      <h2>Recordings</h2>
      {parts.length === 0 && <p class="state">There is none.</p>}
      {parts.map((part) => (
        <Player key={part.id} callId={call.id} part={part} />
      ))}
    </section>
  );
}

function Player({ callId, part }: { callId: string; part: Part }) {
  const api = useApi();
  const [url, setUrl] = useState<string | null>(null);
  const [message, setMessage] = useState("");

  async function load() {
    try {
      const link = await api.recording(callId, part.id ?? undefined, new AbortController().signal);
      setUrl(link.recording_url);
      setMessage(link.recording_url === null ? "The source sent no link that a browser can open." : "");
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setMessage(error.message);
    }
  }

  return (
    <div class="recording">
      <p>
        {part.seconds !== null && duration(part.seconds)} {part.format}
      </p>
      {url === null ? (
        <button type="button" onClick={load}>
          Load the recording
        </button>
      ) : (
        <>
          {/* biome-ignore lint/a11y/useMediaCaption: the transcript is on the same page. */}
          <audio
            controls
            src={url}
            onError={() => setMessage("This browser cannot play the recording. Open the link instead.")}
          />
          <a href={url} rel="noreferrer" target="_blank">
            Open the link
          </a>
        </>
      )}
      <p role="status">{message}</p>
    </div>
  );
}
