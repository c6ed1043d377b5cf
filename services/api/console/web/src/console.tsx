/** The console of developers: their organization's calls. */

import { render } from "preact";
import { useCallback } from "preact/hooks";
import { LocationProvider, Route, Router, useLocation } from "preact-iso";
import { callsAt, FIRST_PATH, overviewAt } from "./addresses";
import { type Session, SessionContext, STORED_SESSION, seesTestCalls, TimeZoneContext } from "./api/session";
import { RefusedContext } from "./api/use-answer";
import { useSigningIn } from "./api/use-signing-in";
import { CallPage } from "./pages/call";
import { CallsPage } from "./pages/calls";
import { NoSuchPage } from "./pages/no-such-page";
import { OverviewPage } from "./pages/overview";
import { SignInPage } from "./pages/sign-in";
import { Boundary } from "./ui/boundary";
import { Frame } from "./ui/frame";
import "./style.css";

function Console() {
  const { session, given, refused, change, onRefused } = useSigningIn<Session>(STORED_SESSION, "key");
  const onTimeZone = useCallback(
    (timeZone: string) => {
      if (session !== null && session.timeZone !== timeZone) change({ ...session, timeZone });
    },
    [session, change],
  );
  if (session === null || given !== null)
    return <SignInPage given={given} refused={refused} onSession={change} />;
  return (
    <SessionContext.Provider value={session}>
      <RefusedContext.Provider value={onRefused}>
        <TimeZoneContext.Provider value={onTimeZone}>
          <LocationProvider scope="/console/">
            <Boundary>
              <Signed session={session} onLeave={() => change(null)} />
            </Boundary>
          </LocationProvider>
        </TimeZoneContext.Provider>
      </RefusedContext.Provider>
    </SessionContext.Provider>
  );
}

function Signed({ session, onLeave }: { session: Session; onLeave: () => void }) {
  const { path } = useLocation();
  const places = [
    { name: "Overview", href: overviewAt(), isCurrent: path === FIRST_PATH },
    { name: "Calls", href: callsAt(), isCurrent: path.startsWith("/console/calls") },
  ];
  const aside = (
    <>
      {seesTestCalls(session) && <span class="mode">Test calls</span>}
      <span class="zone">
        {session.timeZone}
        {session.isTimeZoneOfBrowser && " (this browser's)"}
      </span>
      <button type="button" onClick={onLeave}>
        Sign out
      </button>
    </>
  );
  return (
    <Frame places={places} aside={aside}>
      <Router>
        <Route path="/console/" component={OverviewPage} />
        <Route path="/console/calls" component={CallsPage} />
        <Route path="/console/calls/:id" component={CallPage} />
        <Route default component={NoSuchPage} />
      </Router>
    </Frame>
  );
}

const page = document.getElementById("page");
if (page !== null) render(<Console />, page);
