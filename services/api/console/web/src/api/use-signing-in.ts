/** How both consoles keep what a person signs in with: in session storage, and taken from the address once. */

import { useCallback, useEffect, useState } from "preact/hooks";
import type { Failure } from "./failure";

export interface SigningIn<T> {
  /** What the person signed in with; null before that. */
  readonly session: T | null;
  /** A credential from the address, which is not checked yet. */
  readonly given: string | null;
  /** Why the API refused the session that the page had. */
  readonly refused: Failure | null;
  /** Signs in, or out with null. */
  readonly change: (next: T | null) => void;
  readonly onRefused: (failure: Failure) => void;
}

/** The session stored as `stored`. The fragment of the address may have a credential with the name `inFragment`. */
export function useSigningIn<T>(stored: string, inFragment: string): SigningIn<T> {
  const [session, setSession] = useState<T | null>(() => read(stored));
  const [given, setGiven] = useState(() => takeFromFragment(inFragment));
  const [refused, setRefused] = useState<Failure | null>(null);
  const change = useCallback(
    (next: T | null) => {
      if (next === null) sessionStorage.removeItem(stored);
      else sessionStorage.setItem(stored, JSON.stringify(next));
      setSession(next);
      setGiven(null);
      setRefused(null);
    },
    [stored],
  );
  const onRefused = useCallback(
    (failure: Failure) => {
      change(null);
      setRefused(failure);
    },
    [change],
  );
  useEffect(() => {
    const follow = () => setGiven((before) => takeFromFragment(inFragment) ?? before);
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, [inFragment]);
  return { session, given, refused, change, onRefused };
}

function read<T>(stored: string): T | null {
  const text = sessionStorage.getItem(stored);
  return text === null ? null : (JSON.parse(text) as T);
}

/** The value of `name` in the address's fragment, which browsers do not send. It is removed from the address. */
function takeFromFragment(name: string): string | null {
  const value = new URLSearchParams(location.hash.slice(1)).get(name);
  if (value !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return value;
}
