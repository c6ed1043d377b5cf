/** The contents of answers: what both APIs have in common. */

import { failureOf, unreachable } from "./failure";

/** Parameters by name. Their values may come from the address bar, so only the API checks them. */
export type Query = Readonly<Record<string, string | number | boolean>>;

const REQUEST_MILLISECONDS = 30_000;

interface Outcome<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The content of an answer. Throws `Failure` for an error, and for no answer. */
export async function contentOf<T>(outcome: Promise<Outcome<T>>): Promise<T> {
  let known: Outcome<T>;
  try {
    known = await outcome;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!known.response.ok) throw failureOf(known.response, known.error);
  return known.data as T;
}

/** A signal that also aborts when the API takes too long. */
export const bounded = (signal: AbortSignal) =>
  AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MILLISECONDS)]);
