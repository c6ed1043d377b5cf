"""An identity provider's token endpoint, on loopback: the client-credentials grant over TLS."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import trustme

from tests.support.secured_kafka import Issuer, SecuredKafka, Settings, sasl

CLIENT_ID = "callfold-client"
SECRET = "s3cret/with+signs"
SCOPE = "kafka"


class TokenEndpoint(ThreadingHTTPServer):
    """Tests can change it while it runs: `lifetime_seconds` of its tokens, the lifetime that it reports
    (`told_seconds`, the real one unless set), and `away`, which makes it respond 503."""

    def __init__(self, issuer: Issuer, ca: trustme.CA, subject: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = issuer
        self.subject = subject
        self.lifetime_seconds = 3600
        self.told_seconds: int | None = None
        self.away = False
        self.granted = 0
        self.refused = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server_port}/token"


@contextmanager
def token_endpoint(issuer: Issuer, ca: trustme.CA, subject: str) -> Iterator[TokenEndpoint]:
    """Runs the endpoint within the block."""
    with TokenEndpoint(issuer, ca, subject) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def with_token_url(secured: SecuredKafka, endpoint: TokenEndpoint) -> Settings:
    return sasl(
        secured,
        "OAUTHBEARER",
        kafka_token_url=endpoint.url,
        kafka_client_id=CLIENT_ID,
        kafka_client_secret=SECRET,
        kafka_token_scope=SCOPE,
    )


class _Handler(BaseHTTPRequestHandler):
    server: TokenEndpoint

    def do_POST(self) -> None:
        endpoint = self.server
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        asked = form == {"grant_type": ["client_credentials"], "scope": [SCOPE]} and self.path == "/token"
        if endpoint.away:
            endpoint.refused += 1
            self._answer(503, {})
        elif self.headers["Authorization"] != f"Basic {_basic(CLIENT_ID, 's3cret%2Fwith%2Bsigns')}":
            self._answer(401, {"error": "invalid_client"})
        elif not asked:
            self._answer(400, {"error": "invalid_request"})
        else:
            endpoint.granted += 1
            seconds = endpoint.lifetime_seconds
            token = endpoint.issuer.token(endpoint.subject, lifetime_seconds=seconds)
            told = endpoint.told_seconds or seconds
            self._answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": told})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the library's name)
        """Logs nothing: its counters show the requests."""


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()
