import type { Connection } from "../api/changes";

const NAMES = { connecting: "Connecting …", live: "Live", refused: "Not live" } as const;

/** Whether the page follows the changes of calls. */
export function LiveMark({ connection }: { connection: Connection }) {
  return (
    <span class="live" data-connection={connection}>
      {NAMES[connection]}
    </span>
  );
}
