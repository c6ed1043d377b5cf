/** A hook for what a person starts: it runs once at a time, and the page shows why it failed. */

import { useContext, useState } from "preact/hooks";
import { Failure, withoutRetry } from "./failure";
import { RefusedContext } from "./use-answer";

export interface Action {
  readonly run: () => Promise<void>;
  readonly isBusy: boolean;
  readonly failure: Failure | null;
  /** Forgets the failure. */
  readonly clear: () => void;
}

/** `onDone` gets the result of `act`. */
export function useAction<T>(act: () => Promise<T>, onDone: (result: T) => void): Action {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const onRefused = useContext(RefusedContext);

  async function run() {
    if (isBusy) return;
    setBusy(true);
    setFailure(null);
    try {
      onDone(await act());
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (error.status === 401) return onRefused(error);
      setFailure(withoutRetry(error));
    } finally {
      setBusy(false);
    }
  }

  return { run, isBusy, failure, clear: () => setFailure(null) };
}
