/** Hooks for answers of the API, which are kept while they are loaded again, and for changes of calls. */

import { createContext } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Change, type Connection, follow } from "./changes";
import { Api, Failure } from "./client";
import { useSession } from "./session";

export interface Answer<T> {
  /** The latest answer, which may be of an earlier key; null before the first one. */
  readonly content: T | null;
  readonly failure: Failure | null;
  readonly isLoading: boolean;
  /** Loads the answer again: at once, or when the present load has ended. */
  readonly reload: () => void;
  /** The same, unless the page waits to retry a failure. */
  readonly refresh: () => void;
}

/** Called with the failure of a credential that the API does not accept. */
export const RefusedContext = createContext<(failure: Failure) => void>(() => {});

export function useApi(): Api {
  const session = useSession();
  return useMemo(() => new Api(session), [session]);
}

/** Loads an answer again whenever `key` changes. `key` names the request; null requests nothing. */
export function useAnswer<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Answer<T> {
  const [state, setState] = useState<{ key: string | null; content: T | null; failure: Failure | null }>({
    key: null,
    content: null,
    failure: null,
  });
  const [isLoading, setLoading] = useState(true);
  const [turn, setTurn] = useState(0);
  const onRefused = useContext(RefusedContext);
  const latest = useRef(load);
  latest.current = load;
  const running = useRef({ isLoading: false, again: false, waits: false });
  const reload = useCallback(() => {
    if (running.current.isLoading) running.current.again = true;
    else setTurn((before) => before + 1);
  }, []);
  const refresh = useCallback(() => {
    if (!running.current.waits) reload();
  }, [reload]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: `turn` asks for the same answer again.
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    running.current = { isLoading: true, again: false, waits: false };
    setLoading(true);
    latest
      .current(abort.signal)
      .then((content) => setState({ key, content, failure: null }))
      .catch((failure: unknown) => {
        if (abort.signal.aborted) return;
        if (!(failure instanceof Failure)) throw failure;
        if (failure.status === 401) return onRefused(failure);
        running.current.waits = failure.retrySeconds !== null;
        setState((before) => ({ key, content: before.key === key ? before.content : null, failure }));
      })
      .finally(() => {
        if (abort.signal.aborted) return;
        running.current.isLoading = false;
        setLoading(false);
        if (running.current.again) refresh();
      });
    return () => {
      abort.abort();
      running.current.isLoading = false;
    };
  }, [key, turn, onRefused, refresh]);

  const isOfKey = state.key === key;
  return {
    content: state.content,
    failure: isOfKey ? state.failure : null,
    isLoading: isLoading || !isOfKey,
    reload,
    refresh,
  };
}

/** Calls `onChange` for each change of the organization's calls, while a person can see the page: a browser allows few
 * connections. The changes since then follow when the page is seen again. Returns whether changes arrive. */
export function useChanges(onChange: (change: Change) => void): Connection {
  const session = useSession();
  const onRefused = useContext(RefusedContext);
  const [connection, setConnection] = useState<Connection>("connecting");
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => {
    const position = { lastId: "" };
    let abort = new AbortController();
    const watch = () => {
      abort.abort();
      if (document.hidden) return;
      abort = new AbortController();
      const onEach = (change: Change) => latest.current(change);
      follow(session, position, onEach, setConnection, onRefused, abort.signal);
    };
    watch();
    document.addEventListener("visibilitychange", watch);
    return () => {
      document.removeEventListener("visibilitychange", watch);
      abort.abort();
    };
  }, [session, onRefused]);
  return connection;
}

/** A function that calls `act` at most once per `milliseconds`, and once after the last request. */
export function useThrottled(act: () => void, milliseconds: number): () => void {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const last = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current) return;
    const wait = Math.max(0, last.current + milliseconds - performance.now());
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      last.current = performance.now();
      latest.current();
    }, wait);
  }, [milliseconds]);
}
