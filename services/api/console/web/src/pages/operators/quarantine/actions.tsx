/** Redrive and discard for some records. */

import { useState } from "preact/hooks";
import { useAdmin } from "../../../api/admin";
import { useAction } from "../../../api/use-action";
import { counted } from "../../../format";
import { Refusal } from "../../../ui/states";
import { TypedConfirmation } from "../../../ui/typed-confirmation";
import type { Done } from "./outcome";

interface ActionsProps {
  readonly ids: readonly string[];
  readonly onDone: (done: Done) => void;
}

export function Actions({ ids, onDone }: ActionsProps) {
  const admin = useAdmin();
  const [isAsking, setAsking] = useState(false);
  const redrive = useAction(
    () => admin.redrive(ids),
    (redriven) => onDone({ redriven }),
  );
  const discard = useAction(
    () => admin.discard(ids),
    (discarded) => {
      setAsking(false);
      onDone({ discarded });
    },
  );
  return (
    <div class="actions">
      <button
        type="button"
        class="primary"
        disabled={ids.length === 0}
        aria-disabled={redrive.isBusy}
        onClick={redrive.run}
      >
        {redrive.isBusy ? "Redriving …" : "Redrive"}
      </button>
      <button type="button" class="danger" disabled={ids.length === 0} onClick={() => setAsking(true)}>
        Discard …
      </button>
      {redrive.failure && <Refusal failure={redrive.failure} />}
      {isAsking && (
        <TypedConfirmation
          title={`Discard ${counted(ids.length, "record")}?`}
          word="discard"
          action="Discard permanently"
          isBusy={discard.isBusy}
          onConfirm={discard.run}
          onCancel={() => {
            setAsking(false);
            discard.clear();
          }}
        >
          <p>
            callfold removes {ids.length === 1 ? "this record" : "these records"} permanently. The audit log
            keeps where {ids.length === 1 ? "it was" : "they were"} in Kafka, and not the content.
          </p>
          {discard.failure && <Refusal failure={discard.failure} />}
        </TypedConfirmation>
      )}
    </div>
  );
}
