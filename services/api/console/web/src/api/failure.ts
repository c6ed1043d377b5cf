/** Why a request has no answer. */

const SECONDS_TO_RETRY = 5;

export class Failure extends Error {
  constructor(
    /** The status of HTTP; 0 if no answer came. */
    readonly status: number,
    readonly code: string,
    sentence: string,
    /** After how many seconds a retry may succeed; null if it cannot. */
    readonly retrySeconds: number | null,
  ) {
    super(sentence);
  }
}

/** The failure that an answer of the API reports. */
export function failureOf(response: Response, body: unknown): Failure {
  const error = body as { error?: string; code?: string } | undefined;
  const passes = response.status === 429 || response.status >= 500;
  const seconds = Number(response.headers.get("Retry-After")) || SECONDS_TO_RETRY;
  return new Failure(
    response.status,
    error?.code ?? "",
    error?.error ?? `The API answered ${response.status}.`,
    passes ? seconds : null,
  );
}

/** The same failure, for what only a person starts again. */
export const withoutRetry = ({ status, code, message }: Failure) => new Failure(status, code, message, null);

/** The failure of a request without an answer. */
export const unreachable = () => new Failure(0, "", "The API cannot be reached.", SECONDS_TO_RETRY);
