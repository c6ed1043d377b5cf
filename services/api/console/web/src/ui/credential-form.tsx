/** The page that asks for a credential, and checks it with the API. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Failure } from "../api/failure";
import { Heading } from "./frame";
import { Problem } from "./states";

interface CredentialFormProps {
  readonly heading: string;
  /** What the person types. */
  readonly label: string;
  /** A credential from the address, which is checked at once. */
  readonly given: string | null;
  /** Why the API refused the credential that the page had. */
  readonly refused: Failure | null;
  /** Throws `Failure` if the API does not accept the credential. */
  readonly check: (credential: string) => Promise<void>;
  readonly note: ComponentChildren;
  /** Further fields. */
  readonly children?: ComponentChildren;
}

export function CredentialForm(props: CredentialFormProps) {
  const [credential, setCredential] = useState("");
  const [failure, setFailure] = useState<Failure | null>(props.refused);
  const [isBusy, setBusy] = useState(false);
  const [last, setLast] = useState<string | null>(null);

  async function check(asked: string) {
    setLast(asked);
    setBusy(true);
    try {
      await props.check(asked);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      setFailure(error);
    } finally {
      setBusy(false);
    }
  }

  // biome-ignore lint/correctness/useExhaustiveDependencies: a credential of the address is checked once.
  useEffect(() => {
    if (props.given !== null) check(props.given);
  }, [props.given]);

  return (
    <main class="sign-in">
      <Heading title="Sign in">{props.heading}</Heading>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          check(credential.trim());
        }}
      >
        <label>
          <span>{props.label}</span>
          <input
            type="password"
            required
            pattern="[!-~]+"
            title="Without spaces"
            autocomplete="off"
            spellcheck={false}
            value={credential}
            onInput={(event) => setCredential(event.currentTarget.value)}
          />
        </label>
        {props.children}
        <button type="submit" class="primary" disabled={isBusy}>
          {isBusy ? "Checking …" : "Open the console"}
        </button>
      </form>
      {failure && <Problem failure={failure} onRetry={last === null ? undefined : () => check(last)} />}
      <p class="note">{props.note}</p>
    </main>
  );
}
