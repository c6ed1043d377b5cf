"""An issuer of user tokens like Supabase Auth: it signs tokens, and publishes its keys on loopback."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.api import NOW

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
ISSUER = "https://project.example.com/auth/v1"
SECRET = "a-secret-of-forty-letters-or-a-few-more-than-that"


def claims(user_id: UUID | str, now: datetime = NOW, **others: Any) -> dict[str, Any]:
    """The claims of a user's token. None leaves a claim out."""
    issued = int(now.timestamp())
    said = {
        "iss": ISSUER,
        "aud": "authenticated",
        "sub": str(user_id),
        "iat": issued,
        "exp": issued + 3600,
        "role": "authenticated",
    }
    return {name: value for name, value in {**said, **others}.items() if value is not None}


def sign_with_secret(payload: Mapping[str, Any], secret: str = SECRET) -> str:
    """A token of HS256."""
    return jwt.encode(dict(payload), secret, algorithm="HS256")


class TokenIssuer(ThreadingHTTPServer):
    """Tests can change it while it runs: its `keys`, and `away`, which makes it respond 503. `asked` counts
    requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys: dict[str, PrivateKey] = {
            "first": new_rsa_key(),
            "curve": ec.generate_private_key(ec.SECP256R1()),
        }
        self.away = False
        self.asked = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/auth/v1/.well-known/jwks.json"

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys, beside keys that must not verify any token."""
        published = [
            {**_public(key), "kid": key_id, "use": "sig", "key_ops": ["verify"]}
            for key_id, key in self.keys.items()
        ]
        return {
            "keys": [
                *published,
                {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LW9mLXRoaXJ0eS10d28tbGV0dGVycy1vci1tb3Jl"},
                {"kty": "RSA", "kid": "encrypting", "use": "enc", **_public(self.keys["first"])},
                {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "AA", "y": "AA"},
                {"kty": "OKP", "kid": "other", "crv": "Ed25519", "x": "AA"},
            ]
        }

    def token(self, key_id: str, payload: Mapping[str, Any]) -> str:
        """A token signed with this key, by the key's algorithm."""
        key = self.keys[key_id]
        return jwt.encode(dict(payload), key, algorithm=_algorithm(key), headers={"kid": key_id})


@contextmanager
def token_issuer() -> Iterator[TokenIssuer]:
    """Runs the issuer within the block."""
    with TokenIssuer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def new_rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _algorithm(key: PrivateKey) -> str:
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def _public(key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "alg": "RS256"}
    return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "alg": "ES256"}


class _Handler(BaseHTTPRequestHandler):
    server: TokenIssuer

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(503 if self.server.away else 200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"" if self.server.away else json.dumps(self.server.jwks).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the library's name)
        """Logs nothing: its counter shows the requests."""
