/** Asks for a key or a token, and checks it with the API. */

import { useEffect, useState } from "preact/hooks";
import { Api, Failure } from "../api/client";
import type { Session } from "../api/session";
import { Heading } from "../ui/frame";
import { Problem } from "../ui/states";

interface SignInProps {
  /** A key from the address, which is checked at once. */
  readonly given: string | null;
  /** Why the API refused the credential that the page had. */
  readonly refused: Failure | null;
  readonly onSession: (session: Session) => void;
}

export function SignInPage({ given, refused, onSession }: SignInProps) {
  const [credential, setCredential] = useState("");
  const [organizationId, setOrganizationId] = useState("");
  const [failure, setFailure] = useState<Failure | null>(refused);
  const [isBusy, setBusy] = useState(false);

  async function check(asked: string) {
    setBusy(true);
    try {
      onSession(await sessionOf(asked, organizationId.trim()));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: a key of the address is checked once.
  useEffect(() => {
    if (given !== null) check(given);
  }, [given]);

  return (
    <main class="sign-in">
      <Heading title="Sign in">callfold</Heading>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          check(credential.trim());
        }}
      >
        <label>
          <span>API key or token</span>
          <input
            type="password"
            required
            pattern="[!-~]+"
            title="A key or token without spaces"
            autocomplete="off"
            spellcheck={false}
            value={credential}
            onInput={(event) => setCredential(event.currentTarget.value)}
          />
        </label>
        <label>
          <span>Organization (only with a token of several organizations)</span>
          <input
            pattern="[0-9a-fA-F-]{36}"
            placeholder="b6d9a1f4-2f6e-4b0c-9a70-5a7f6f1f9a01"
            autocomplete="off"
            spellcheck={false}
            value={organizationId}
            onInput={(event) => setOrganizationId(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "Checking …" : "Open the console"}
        </button>
      </form>
      {failure && <Problem failure={failure} onRetry={() => check(given ?? credential.trim())} />}
      <p class="note">
        This tab keeps the key until it is closed. <code>callfold key create</code> creates one.
      </p>
    </main>
  );
}

/** The session of a credential. Throws `Failure` if the API does not accept it. */
async function sessionOf(credential: string, organizationId: string): Promise<Session> {
  const browser = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const session = { credential, timeZone: browser, ...(organizationId && { organizationId }) };
  const api = new Api(session);
  const signal = new AbortController().signal;
  try {
    const { time_zone } = await api.trends({}, signal);
    return { ...session, timeZone: time_zone };
  } catch (failure) {
    // A key without the scope of figures can still read calls.
    if (!(failure instanceof Failure) || failure.status !== 403) throw failure;
    await api.calls({ limit: 1, total: false }, signal);
    return session;
  }
}
