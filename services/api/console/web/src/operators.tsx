/** The console of operators, on the monitor's port. */

import { render } from "preact";
import { useMemo } from "preact/hooks";
import { LocationProvider, Route, Router, useLocation } from "preact-iso";
import { FIRST_PATH, healthAt, proofsAt, quarantineAt, sourcesAt, webhooksAt } from "./addresses";
import { AdminApi, AdminContext, STORED_TOKEN } from "./api/admin";
import { Failure } from "./api/failure";
import { RefusedContext } from "./api/use-answer";
import { useSigningIn } from "./api/use-signing-in";
import { NoSuchPage } from "./pages/no-such-page";
import { HealthPage } from "./pages/operators/health";
import { ProofPage } from "./pages/operators/proof";
import { ProofsPage } from "./pages/operators/proofs";
import { QuarantinePage } from "./pages/operators/quarantine";
import { RecordPage } from "./pages/operators/record";
import { SourcePage } from "./pages/operators/source";
import { SourcesPage } from "./pages/operators/sources";
import { WebhooksPage } from "./pages/operators/webhooks";
import { Boundary } from "./ui/boundary";
import { CredentialForm } from "./ui/credential-form";
import { Frame } from "./ui/frame";
import "./style.css";

function Operators() {
  const { session: token, given, refused, change, onRefused } = useSigningIn<string>(STORED_TOKEN, "token");
  const admin = useMemo(() => (token === null ? null : new AdminApi(token)), [token]);
  if (admin === null || given !== null)
    return (
      <CredentialForm
        heading="callfold for operators"
        label="Admin token"
        given={given}
        refused={refused}
        check={async (credential) => {
          await check(credential);
          change(credential);
        }}
        note={
          <>
            This tab keeps the token until it is closed. It is <code>CALLFOLD_ADMIN_TOKEN</code> of the API.
          </>
        }
      />
    );
  return (
    <AdminContext.Provider value={admin}>
      <RefusedContext.Provider value={onRefused}>
        <LocationProvider scope="/console/">
          <Boundary>
            <Signed onLeave={() => change(null)} />
          </Boundary>
        </LocationProvider>
      </RefusedContext.Provider>
    </AdminContext.Provider>
  );
}

/** Throws `Failure` if the API does not accept the token. */
async function check(token: string): Promise<void> {
  try {
    await new AdminApi(token).proofs(new AbortController().signal);
  } catch (failure) {
    // Without its database, the API still checks the token.
    if (!(failure instanceof Failure) || failure.status !== 503) throw failure;
  }
}

function Signed({ onLeave }: { onLeave: () => void }) {
  const { path } = useLocation();
  const places = [
    { name: "Health", href: healthAt(), isCurrent: path === FIRST_PATH },
    ...[
      { name: "Quarantine", href: quarantineAt() },
      { name: "Sources", href: sourcesAt() },
      { name: "Webhooks", href: webhooksAt() },
      { name: "Proofs", href: proofsAt() },
    ].map((place) => ({ ...place, isCurrent: path.startsWith(place.href) })),
  ];
  const aside = (
    <>
      <span class="zone">Times in UTC</span>
      <button type="button" onClick={onLeave}>
        Sign out
      </button>
    </>
  );
  return (
    <Frame places={places} aside={aside}>
      <Router>
        <Route path="/console/" component={HealthPage} />
        <Route path="/console/quarantine" component={QuarantinePage} />
        <Route path="/console/quarantine/:id" component={RecordPage} />
        <Route path="/console/sources" component={SourcesPage} />
        <Route path="/console/sources/:id" component={SourcePage} />
        <Route path="/console/webhooks" component={WebhooksPage} />
        <Route path="/console/proofs" component={ProofsPage} />
        <Route path="/console/proofs/:id" component={ProofPage} />
        <Route default component={NoSuchPage} />
      </Router>
    </Frame>
  );
}

const page = document.getElementById("page");
if (page !== null) render(<Operators />, page);
