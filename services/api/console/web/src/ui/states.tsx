/** What a page shows while it has no answer. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Failure } from "../api/failure";

export function Loading({ what }: { what: string }) {
  return (
    <p class="state" role="status">
      Loading {what} …
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="state">{children}</p>;
}

/** A failure in the API's own words. If it may pass, the page tries again after some seconds, or at once by a button. */
export function Problem({ failure, onRetry }: { failure: Failure; onRetry?: (() => void) | undefined }) {
  const seconds = useCountdown(failure, onRetry);
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{failure.message}</strong>
        {failure.code && <code>{failure.code}</code>}
      </p>
      {onRetry && (
        <p>
          {seconds !== null && <span aria-live="off">The page tries again in {seconds} s. </span>}
          <button type="button" onClick={onRetry}>
            Try again
          </button>
        </p>
      )}
    </div>
  );
}

/** Why an action failed. Only the person does it again. */
export function Refusal({ failure }: { failure: Failure }) {
  return (
    <p class="problem" role="alert">
      {failure.message}
    </p>
  );
}

/** The seconds until `onEnd` is called; null if the failure does not pass. */
function useCountdown(failure: Failure, onEnd: (() => void) | undefined): number | null {
  const [seconds, setSeconds] = useState(failure.retrySeconds);
  const latest = useRef(onEnd);
  latest.current = onEnd;
  useEffect(() => {
    let left = failure.retrySeconds;
    setSeconds(left);
    const timer = setInterval(() => {
      if (left === null || left === 0) return;
      left = Math.max(0, left - 1);
      setSeconds(left);
      if (left === 0) latest.current?.();
    }, 1000);
    return () => clearInterval(timer);
  }, [failure]);
  return seconds;
}
