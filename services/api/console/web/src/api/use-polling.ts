import { useEffect } from "preact/hooks";
import type { Answer } from "./use-answer";

/** Loads an answer again some time after the last one, while a person can see the page. `Problem` retries a
 * failure. */
export function usePolling(
  { isLoading, failure, reload }: Answer<unknown>,
  milliseconds: number | null,
): void {
  useEffect(() => {
    if (isLoading || failure || milliseconds === null) return;
    let timer = 0;
    const follow = () => {
      clearTimeout(timer);
      if (!document.hidden) timer = window.setTimeout(reload, milliseconds);
    };
    follow();
    document.addEventListener("visibilitychange", follow);
    return () => {
      document.removeEventListener("visibilitychange", follow);
      clearTimeout(timer);
    };
  }, [isLoading, failure, reload, milliseconds]);
}
