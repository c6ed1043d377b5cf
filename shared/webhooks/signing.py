"""The secrets of an endpoint, and signatures by the Standard Webhooks specification, version 1. Pure but for
the random bits of a new secret."""

import base64
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from standardwebhooks.webhooks import Webhook

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A new random secret. It is shown once and stored encrypted."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(
    message_id: str, body: bytes, sent_at: datetime, signing_secrets: Iterable[str]
) -> Mapping[str, str]:
    """The headers that identify and sign a message, with one signature for each secret. `sent_at` is in
    UTC."""
    text = body.decode()
    signatures = [Webhook(secret).sign(message_id, sent_at, text) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
