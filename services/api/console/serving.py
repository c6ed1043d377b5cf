"""Answers requests for the console: its assets, and one page for every other path below `/console/`."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.responses import RedirectResponse

from services.api.console.built_files import BUILT, BuiltFile, built_files
from services.api.http.error_codes import ErrorCode
from services.api.http.errors import ApiError

PREFIX: Final = "/console"
_ASSETS: Final = "assets/"

HEADERS: Final = {
    # Everything comes from this server, and nothing is inline. Recordings come from where their source keeps
    # them, when a person plays one.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src http: https:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept-Encoding",
}
# The name of an asset changes with its content. A page is requested each time; 304 tells that it is the same.
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_EACH_TIME: Final = "no-cache"


def add_console(app: FastAPI, page: str, directory: Path = BUILT) -> None:
    """Adds the routes of the console that is built in `directory`. `page` is one of `built_files.PAGES`."""
    files = built_files(directory)

    async def console(request: Request) -> Response:
        return _answer(request, files, request.path_params["path"], page)

    async def to_console(_: Request) -> Response:
        return RedirectResponse(f"{PREFIX}/", HTTPStatus.PERMANENT_REDIRECT)

    app.add_route(f"{PREFIX}/{{path:path}}", console, include_in_schema=False)
    app.add_route(PREFIX, to_console, include_in_schema=False)


def _answer(request: Request, files: Mapping[str, BuiltFile], path: str, page: str) -> Response:
    """The file, or the page for a path that the page itself reads. Raises the 404 `ApiError`."""
    if not files:
        raise ApiError(ErrorCode.NOT_FOUND, _NOT_BUILT)
    is_asset = path.startswith(_ASSETS)
    file = files.get(path if is_asset or path in _TEXTS else page)
    if file is None:
        raise ApiError(ErrorCode.NOT_FOUND, "The console has no such file; reload its page.")
    headers = {**HEADERS, "ETag": file.etag, "Cache-Control": _FOR_EVER if is_asset else _EACH_TIME}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    offered = request.headers.get("accept-encoding", "").replace(" ", "").split(",")
    accepted = {each.partition(";")[0] for each in offered if not each.endswith(";q=0")}
    for encoding, content in file.encoded.items():
        if encoding in accepted:
            headers["Content-Encoding"] = encoding
            return Response(content, headers=headers, media_type=file.content_type)
    return Response(file.content, headers=headers, media_type=file.content_type)


_TEXTS: Final = ("licences.txt",)
_NOT_BUILT: Final = (
    "The console is not built in this installation; `python -m services.api.console.build` builds it, and a "
    "restart of the API serves it."
)
