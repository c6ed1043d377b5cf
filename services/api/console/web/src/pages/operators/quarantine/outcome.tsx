/** What became of records, as sentences. It takes the focus from the button that is gone. */

import { useEffect, useRef } from "preact/hooks";
import type { QuarantineReason, Redriven } from "../../../api/admin";
import { counted, number } from "../../../format";
import { sentence } from "./sentence";

/** What an action did. */
export type Done = { readonly redriven: Redriven } | { readonly discarded: number };

export function Outcome({ done }: { done: Done }) {
  const place = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: each outcome takes the focus.
  useEffect(() => place.current?.focus(), [done]);
  return (
    <div class="outcome" role="status" ref={place} tabIndex={-1}>
      {"discarded" in done ? (
        <p>callfold discarded {counted(done.discarded, "record")}.</p>
      ) : (
        <WhatWasRedriven redriven={done.redriven} />
      )}
    </div>
  );
}

function WhatWasRedriven({ redriven }: { redriven: Redriven }) {
  const { retried, accepted, still_quarantined: stay, reasons } = redriven;
  return (
    <>
      <p>
        callfold retried {counted(retried, "record")}. It stored {accepted === 0 ? "none" : number(accepted)}.{" "}
        {stay === 0 ? "None stays in the quarantine." : `${number(stay)} ${stay === 1 ? "stays" : "stay"}:`}
      </p>
      {reasons.length > 0 && (
        <ul>
          {reasons.map((each) => (
            <li key={`${each.topic} ${each.reason}`}>{staying(each)}</li>
          ))}
        </ul>
      )}
    </>
  );
}

const staying = ({ records, topic, reason }: QuarantineReason) =>
  `${counted(records, "record")} of ${topic}: ${sentence(reason)}`;
