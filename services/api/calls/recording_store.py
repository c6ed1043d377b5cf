"""A store of recordings with the S3 protocol, and links to its objects that expire.

The links are presigned S3 URLs (AWS Signature Version 4, in the query). Signing takes a few HMACs and no
request to the store.
"""

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from shared.settings.api import ApiSettings

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_PORTS: Final = {"http": 80, "https": 443}


class RecordingStore(NamedTuple):
    """Where recordings are kept, and the credentials that may read them."""

    url: str
    """The prefix of the URLs of its recordings: endpoint, bucket, and optionally a folder."""
    region: str
    key_id: str
    secret: str
    link_seconds: int
    """How long a link is valid."""

    def signed(self, url: str, now: datetime) -> str | None:
        """The signed link to this URL, valid from now; None if the URL is not in the store."""
        store = urlsplit(self.url)
        try:
            parts = urlsplit(url)
            elsewhere = _server(parts) != _server(store)
        except ValueError:  # not a URL
            return None
        path, folder = unquote(parts.path), unquote(store.path).rstrip("/") + "/"
        if elsewhere or not path.startswith(folder) or {".", ".."} & set(path.split("/")):
            return None
        # Without the parameters of an earlier signature.
        query = [
            (name, value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if not name.lower().startswith("x-amz-")
        ]
        return self._link(*_server(store), path, query, now.astimezone(UTC))

    def _link(self, scheme: str, host: str, path: str, query: list[tuple[str, str]], now: datetime) -> str:
        at, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        scope = f"{day}/{self.region}/s3/aws4_request"
        asked = [
            *query,
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", f"{self.key_id}/{scope}"),
            ("X-Amz-Date", at),
            ("X-Amz-Expires", str(self.link_seconds)),
            ("X-Amz-SignedHeaders", "host"),
        ]
        pairs = sorted((_encoded(name), _encoded(value)) for name, value in asked)
        encoded_path = _encoded(path, safe="/")
        encoded_query = "&".join(f"{name}={value}" for name, value in pairs)
        headers = f"host:{host}\n"
        request = "\n".join(("GET", encoded_path, encoded_query, headers, "host", "UNSIGNED-PAYLOAD"))
        to_sign = "\n".join((_ALGORITHM, at, scope, sha256(request.encode()).hexdigest()))
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = _hmac(key, part)
        signature = _hmac(key, to_sign).hex()
        return f"{scheme}://{host}{encoded_path}?{encoded_query}&X-Amz-Signature={signature}"


def recording_store(settings: ApiSettings) -> RecordingStore | None:
    """The store of the settings; None if no store is set."""
    if settings.recording_store_url is None:
        return None
    return RecordingStore(
        settings.recording_store_url,
        settings.recording_store_region,
        settings.recording_store_key_id or "",
        settings.recording_store_secret.get_secret_value() if settings.recording_store_secret else "",
        settings.recording_link_seconds,
    )


def _server(url: SplitResult) -> tuple[str, str]:
    """The scheme, and the host as in a Host header: with its port, unless it is the scheme's default."""
    host = url.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if url.port is not None and url.port != _PORTS.get(url.scheme):
        host = f"{host}:{url.port}"
    return url.scheme, host


def _encoded(text: str, safe: str = "") -> str:
    return quote(text, safe=f"{safe}-_.~")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
