/** What a page shows while it has no answer. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
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

/** A failure in the API's own words, and when the page tries again. Without `onRetry`, the page has another way. */
export function Problem({ failure, onRetry }: { failure: Failure; onRetry?: (() => void) | undefined }) {
  const seconds = useCountdown(failure);
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{failure.message}</strong>
        {failure.code && <code>{failure.code}</code>}
      </p>
      {onRetry && (
        <p>
          {seconds !== null && <span>The page tries again in {seconds} s. </span>}
          <button type="button" onClick={onRetry}>
            Try again
          </button>
        </p>
      )}
    </div>
  );
}

function useCountdown(failure: Failure): number | null {
  const [seconds, setSeconds] = useState(failure.retrySeconds);
  useEffect(() => {
    setSeconds(failure.retrySeconds);
    const timer = setInterval(
      () => setSeconds((left) => (left === null ? null : Math.max(0, left - 1))),
      1000,
    );
    return () => clearInterval(timer);
  }, [failure]);
  return seconds;
}
