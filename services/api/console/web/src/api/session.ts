/** The credential of this tab: kept in session storage, and sent only in a header. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";

export interface Session {
  /** An API key, or a user's token. */
  readonly credential: string;
  /** The organization that a user's token chooses; a key has its own. */
  readonly organizationId?: string;
  /** The organization's time zone, or the browser's if the credential may not see it. */
  readonly timeZone: string;
  readonly isTimeZoneOfBrowser?: boolean;
}

/** Its name in session storage. */
export const STORED_SESSION = "callfold.session";

export const SessionContext = createContext<Session | null>(null);

/** Called with the time zone that an answer has, which may have changed since the session began. */
export const TimeZoneContext = createContext<(timeZone: string) => void>(() => {});

/** The session of a signed-in page. Throws outside of one. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("This page needs a session.");
  return session;
}

/** Whether the credential sees test calls. */
export const seesTestCalls = (session: Session) => session.credential.startsWith("kros_test_");
