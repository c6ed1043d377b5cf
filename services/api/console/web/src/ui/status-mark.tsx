import type { Status } from "../api/client";
import { words } from "../format";

/** A status: its colour, and its name. */
export function StatusMark({ status }: { status: Status }) {
  return (
    <span class="status" data-status={status}>
      {words(status)}
    </span>
  );
}
