/** Asks for a key or a token, and checks it with the API. */

import { useState } from "preact/hooks";
import { Api, Failure } from "../api/client";
import type { Session } from "../api/session";
import { CredentialForm } from "../ui/credential-form";

interface SignInProps {
  /** A key from the address, which is checked at once. */
  readonly given: string | null;
  /** Why the API refused the credential that the page had. */
  readonly refused: Failure | null;
  readonly onSession: (session: Session) => void;
}

export function SignInPage({ given, refused, onSession }: SignInProps) {
  const [organizationId, setOrganizationId] = useState("");
  return (
    <CredentialForm
      heading="callfold"
      label="API key or token"
      given={given}
      refused={refused}
      check={async (credential) => onSession(await sessionOf(credential, organizationId.trim()))}
      note={
        <>
          This tab keeps the key until it is closed. <code>callfold key create</code> creates one.
        </>
      }
    >
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
    </CredentialForm>
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
    return { ...session, isTimeZoneOfBrowser: true };
  }
}
