"""The token of the admin API: nothing below /admin is reached without it."""

import hmac
from typing import Final

from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http.answers import answer
from services.api.http.errors import unauthorized

PREFIX: Final = "/admin"
OPENAPI_PATH: Final = f"{PREFIX}/openapi.json"

described: Final = HTTPBearer(
    auto_error=False, scheme_name="admin_token", description="`CALLFOLD_ADMIN_TOKEN` of the API's process."
)
"""How the OpenAPI document names the token, as a dependency of each route. It checks nothing."""


class TokenGuard:
    """An ASGI application in front of another: requests below /admin need the token. It answers the others
    401, before it reads their bodies. The OpenAPI document needs no token. No answer may be stored."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._expected = f"Bearer {token.get_secret_value()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http" or not self._is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
            await send(message)

        if not self._is_allowed(scope):
            refusal = unauthorized("Send the admin token as Authorization: Bearer.")
            content = {"error": refusal.sentence, "code": refusal.code.name, "details": {}}
            response = answer(content, status=refusal.status, headers=refusal.headers)
            await response(scope, receive, sending)
            return
        await self._app(scope, receive, sending)

    def _is_guarded(self, path: str) -> bool:
        return (path == PREFIX or path.startswith(f"{PREFIX}/")) and path != OPENAPI_PATH

    def _is_allowed(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)
