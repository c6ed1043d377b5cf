"""docs/reference/admin-api.md: the OpenAPI document of the admin API as a page."""

import json
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.ops.addresses import Place
from services.ops.admin.app import create_admin_app
from services.ops.reference.api_page import anchor, every_route, objects, operations, routes
from services.ops.reference.markdown import page, table
from shared.monitoring.monitor import Probes
from shared.settings.ingest import IngestSettings

_OPENING: Final = """
# The admin API

*Generated from the OpenAPI document by `python -m services.ops.reference`. An API with the admin API serves
the document at `/admin/openapi.json` of its monitor port.*
"""

_ENABLE: Final = """
## Enable it

The API serves these routes on its monitor port, and never on its public port. They are off until
`CALLFOLD_ADMIN_TOKEN` is set:

    CALLFOLD_MONITOR_PORT=9464
    CALLFOLD_ADMIN_TOKEN=…
    CALLFOLD_ADMIN_DATABASE_URL=postgresql://callfold_operator@db.example.com/callfold

- **Token.** It has at least 32 characters, such as those of `openssl rand -base64 32`. Its holder can
  read and discard quarantined records of every organization. Keep it in a secret, and rotate it by a restart.
- **Database.** `callfold migrate --roles` creates the role `callfold_operator`. The public routes keep the
  role `callfold_api`. But the process then holds the password of an operator. For a stronger wall, start one
  API process for operators, whose public port clients cannot reach.
- **Network.** The monitor port has no TLS. Keep it on the network of your operators, or behind a proxy with
  TLS. There is no CORS: a page must come from this port.
- **Kubernetes.** Add the token and the URL to the secret `callfold-api`, then run
  `kubectl port-forward deployment/callfold-api 9464`.
- **Compose.** Add the token and the URL to the environment of the service `api`, and publish its port 9464 on
  `127.0.0.1`.
- **Embedded stack.** `callfold up` enables it. `callfold status` prints the address with the token.

The audit log names the actor `admin API` for each retry and each discard.

The examples use five shell variables:

    URL=http://127.0.0.1:9464
    TOKEN=…
    RECORD=5a5c3a50-9a3c-4d0e-8a53-0f6f2b7c1111
    PROOF=7d1f0f52-7f0e-4a57-9d57-3a2f8c1b2222
    SOURCE=0d5b7f3e-51ac-4f0a-9e4e-2b1c9a7d3333
"""
_IDS: Final = {
    "/admin/quarantine/{id}": "/admin/quarantine/$RECORD",
    "/admin/proofs/{id}": "/admin/proofs/$PROOF",
    "/admin/sources/{id}/deliveries": "/admin/sources/$SOURCE/deliveries",
}


def page_of_the_admin_api() -> str:
    """The page, from the application's own document."""
    document = _document()
    return page(
        _OPENING,
        document["info"]["description"],
        _ENABLE,
        *_contents(document),
        *every_route(document),
        *routes(document),
        *objects(document),
    )


def admin_document() -> dict[str, Any]:
    """The OpenAPI document of the admin API."""

    async def ready() -> None:
        return None

    probes = Probes(CollectorRegistry(), ready)
    return create_admin_app(SecretStr(""), Place(""), IngestSettings(), probes).openapi()


def _document() -> dict[str, Any]:
    document = admin_document()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["x-codeSamples"] = [{"source": _curl(method.upper(), path, "requestBody" in operation)}]
    return document


def _curl(method: str, path: str, has_body: bool) -> str:
    words = ["curl", *(["-X", method] if method != "GET" else []), '-H "Authorization: Bearer $TOKEN"']
    if has_body:
        words += [
            '-H "Content-Type: application/json"',
            f"-d '{json.dumps({'ids': ['…']}, ensure_ascii=False)}'",
        ]
    return " ".join([*words, f'"$URL{_IDS.get(path, path)}"'])


def _contents(document: dict[str, Any]) -> Iterator[str]:
    rows = [(f"[`{name}`](#{anchor(name)})", one["summary"]) for name, one in operations(document)]
    yield "## Routes\n\n" + table(("route", "purpose"), rows)
