"""The program in the documentation signs a request that the check of Twilio accepts."""

import builtins
import io
import re
import urllib.request
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shared.dialects.twilio import TWILIO
from shared.sources.delivery import Delivery
from shared.sources.outcome import Refused
from shared.sources.signatures import check_request
from shared.sources.source import Source
from shared.sources.translate import translate
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "how-to" / "connect-a-telephony-system.md"


class _Answer:
    status = 200


def test_the_documented_request_is_signed_as_twilio_does(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    sent: list[urllib.request.Request] = []

    def urlopen(request: urllib.request.Request) -> Any:
        sent.append(request)
        return _Answer()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(builtins, "open", lambda _: io.StringIO("token\n"))
    exec(program, {})  # noqa: S102 (the program of the page)
    (request,) = sent
    headers = {name.lower(): value for name, value in request.header_items()}
    headers["content-type"] = "application/x-www-form-urlencoded"  # urllib adds it when it sends
    assert isinstance(request.data, bytes)
    delivery = Delivery(request.data, datetime.now(UTC), headers, "POST", "/hooks/ID")
    source = Source(
        UUID(int=1),
        "twilio",
        "twilio",
        UUID(int=2),
        secrets={"auth_token": "token"},
        url="https://hooks.example.com/hooks/ID",
    )
    assert check_request(delivery, source, TWILIO.verify) is None
    assert [one.fact.type for one in translate(delivery, source, TWILIO).facts] == [
        "call.updated",
        "call.completed",
    ]
    with pytest.raises(Refused, match="the signature is wrong"):
        check_request(delivery._replace(body=request.data + b"&x=1"), source, TWILIO.verify)
