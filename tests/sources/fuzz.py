"""Fuzzing: damages deliveries at random, and finds those on which a dialect fails.

`python -m tests.sources.fuzz DIALECT [N] [--first SEED]` tries N damaged deliveries, 20,000 by default, and
prints the first failures. The seed alone gives the delivery again: `--first SEED` with an N of 1.
"""

import argparse
import binascii
import json
import re
import traceback
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from services.ops.sources.attempt import attempt
from services.ops.sources.sample import Sample, sample_of, scenario_of
from shared.calls.event import InvalidEvent, read
from shared.dialects.registry import DIALECTS
from shared.sources.translate import BUG, event_json, translate

FOLDER: Final = Path(__file__).parent
FAILURES_MAX: Final = 5
_LEFT_TO_THE_CONTRACT: Final = ("answered_at", "completed_at", "recording_url")
_HUGE: Final = 20_000
_DEEP: Final = json.loads("[" * 200 + "]" * 200)
_LITERAL: Final = re.compile(r'"literal:([^"]*)"')
"""A value that json.dumps cannot write: the damaged body has the rest of the text, without quotes."""
ODD_TEXTS: Final = (
    *(
        "",
        " ",
        "null",
        "0",
        "-1",
        "1",
        "-0",
        "1.5",
        "1e400",
        "1e999999",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        "1_000",
    ),
    *(
        "x",
        "x" * 300,
        "x" * _HUGE,
        "9" * 40,
        "9" * 5_000,
        "1,2",
        ",",
        ",,,,",
        ";",
        "=",
        "%",
        "%ff%00",
        "&",
        "@",
    ),
    *(
        "\0",
        "a\0b",
        "é😀",
        "٣",
        "²",
        "\u2028",
        "\ud800",
        "\x7f",
        "\r\n",
        "\\",
        '"',
        "{",
        "[",
        "{}",
        "[]",
        "null,",
    ),
    *("1970-01-01T00:00:00Z", "0000-00-00 00:00:00", "0001-01-01T00:00:00+14:00", "24:00:00", "9999-12-31"),
    *("9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-24T10:00:00"),
    *("2026-11-24T10:00:00.1234567890Z", "20261124T100000Z", "2026-W48-2", "Tue, 10 Nov 2026 09:15:58 +9999"),
    *("Tue, 99 Foo 2026", "2026/11/24 10:00:00", "1795514400", "1795514400000", "1795514400000000", "1e15"),
    *(
        "sip:",
        "sip:@",
        "<sip:",
        "sip:%ff@[::1",
        "tel:;x=1",
        '"A" <sip:a@b>;tag=1',
        "SIP/2.0 486",
        "+",
        "anonymous",
    ),
    *(
        "Basic",
        "Basic !",
        "Basic YQ==",
        "Bearer a.b.c",
        "v=1,d=x",
        "t=x,v1=y",
        "a.b.c",
        "e30.e30.e30",
        "true",
    ),
    *("gzip", "application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-16"),
)
ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, -(10**400), 0.1, -0.0, 1e308, 1e-300),
    *(1_795_514_400, 1_795_514_400_000, 253_402_300_800, float("nan"), float("inf")),
    *("literal:1e999999", "literal:-1E-999999", "literal:0.10000000000000000000000000001"),
    *([], {}, [None], [[]], [{}], {"": None}, {"a": {"b": {"c": 1}}}, ["x"] * 1_500, _DEEP),
)


@cache
def samples_of(dialect: str) -> tuple[Sample, ...]:
    """The deliveries of a dialect in all samples and scenarios."""
    return tuple(sample for sample in _samples() if sample.source.dialect == dialect)


@cache
def _samples() -> tuple[Sample, ...]:
    contents = [
        json.loads(path.read_text(), parse_float=str)
        for kind in ("samples/*/*.json", "scenarios/*.json")
        for path in sorted(FOLDER.glob(kind))
    ]
    return tuple(
        sample
        for content in contents
        for sample in (scenario_of(content) if "deliveries" in content else [sample_of(content)])
    )


def damaged(dialect: str, seed: int) -> Sample:
    """The damaged delivery of this seed."""
    random = Random(f"{dialect}/{seed}")
    sample = random.choice(samples_of(dialect))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        sample = _damaged(sample, random)
    return sample


def fault(sample: Sample) -> str | None:
    """Why a dialect fails on this delivery; None if it does not."""
    try:
        if attempt(sample, verify=False) != attempt(sample, verify=False):
            return "the second attempt gave another outcome"
        attempt(sample)
    except Exception:
        return traceback.format_exc(limit=-4)
    return next(_breaches(sample), None)


def _breaches(sample: Sample) -> Iterator[str]:
    """Bugs of the dialect, and facts that break the contract of events or have a field that callfold leaves
    out. Instants far in the future, or long after their event, are the sender's faults."""
    source, delivery = sample
    translation = translate(delivery, source, DIALECTS[source.dialect])
    yield from (one.reason for one in translation.quarantined if one.reason.startswith(BUG))
    for placed in translation.facts:
        try:
            event = read(event_json(placed.fact, placed.organization or source.id), delivery.received_at)
        except InvalidEvent as error:
            if "future" not in error.rule:
                yield f"{error}: {placed.fact!r:.500}"
        else:
            # Dialects pass an address on as it is. The contract bounds its length, and an instant's distance.
            left_out = [note for note in event.notes if not note.field.endswith(_LEFT_TO_THE_CONTRACT)]
            if left_out:
                yield f"{left_out[0]}: {placed.fact!r:.500}"


def _damaged(sample: Sample, random: Random) -> Sample:
    delivery = sample.delivery
    body = delivery.body or b""
    choice = random.random()
    if choice < 0.7:
        changed = delivery._replace(body=_content(body, delivery.content_type, random))
    elif choice < 0.8:
        changed = delivery._replace(body=_bytes(body, random))
    elif choice < 0.92:
        changed = delivery._replace(headers=_headers(dict(delivery.headers), random))
    elif choice < 0.96 and delivery.is_request:
        changed = delivery._replace(url=_url(delivery.url, random))
    elif choice < 0.98:
        changed = delivery._replace(key=_bytes(delivery.key or b"", random))
    else:
        changed = delivery._replace(body=random.choice((None, b"", b"\0", b"\xff\xfe", b"[]", b"{}", b'""')))
    return Sample(sample.source, changed)


def _content(body: bytes, media_type: str, random: Random) -> bytes:
    """The body with a value in it replaced: of JSON, of the claims of a token, of a form, or of a line."""
    try:
        content = body.decode()
    except UnicodeDecodeError:
        return _bytes(body, random)
    if "urlencoded" in media_type:
        return _form(content, random).encode(errors="replace")
    if body[:1] in (b"{", b"["):
        return _lines_of_json(content, random)
    if (token := _token(content, random)) is not None:
        return token
    values = content.split(",")
    values[random.randrange(len(values))] = random.choice(ODD_TEXTS)
    return ",".join(values).encode(errors="replace")


def _lines_of_json(content: str, random: Random) -> bytes:
    lines = content.splitlines() if content.count("\n{") else [content]
    chosen = random.randrange(len(lines))
    lines[chosen] = _json_text(lines[chosen], random)
    return "\n".join(lines).encode(errors="replace")


def _json_text(content: str, random: Random) -> str:
    try:
        value = json.loads(content)
        dumped = json.dumps(_value(value, random), ensure_ascii=random.random() < 0.8)
    except (ValueError, RecursionError):
        return content[: random.randrange(len(content) + 1)]
    return _LITERAL.sub(r"\1", dumped)


def _token(content: str, random: Random) -> bytes | None:
    parts = content.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = urlsafe_b64decode(parts[1] + "==").decode()
    except ValueError:
        return None
    parts[1] = urlsafe_b64encode(_json_text(claims, random).encode(errors="replace")).decode().rstrip("=")
    return ".".join(parts).encode()


def _value(value: Any, random: Random) -> Any:
    """The JSON value with one value in it replaced, removed, renamed or repeated."""
    if random.random() < 0.85:
        if isinstance(value, dict) and value:
            return _object(dict(value), random)
        if isinstance(value, list) and value:
            place = random.randrange(len(value))
            return [_value(each, random) if n == place else each for n, each in enumerate(value)]
        if isinstance(value, str) and (inner := _inner(value, random)) is not None:
            return inner
    return _odd(value, random)


def _object(value: dict[str, Any], random: Random) -> dict[str, Any]:
    sizes = [1 + len(each) if isinstance(each, dict | list) else 1 for each in value.values()]
    name = random.choices(list(value), sizes)[0]
    choice = random.random()
    if choice < 0.75:
        value[name] = _value(value[name], random)
    elif choice < 0.9:
        del value[name]
    elif choice < 0.95:
        value[random.choice(ODD_TEXTS)] = value.pop(name)
    else:
        value[name] = value[random.choice(list(value))]
    return value


def _inner(value: str, random: Random) -> str | None:
    """A text of JSON, or of base64 around it, with a value in it replaced; None for any other text."""
    if value[:1] in ("{", "["):
        return _json_text(value, random)
    try:
        decoded = b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    if decoded[:1] not in ("{", "["):
        return None
    return b64encode(_json_text(decoded, random).encode(errors="replace")).decode()


def _odd(value: Any, random: Random) -> Any:
    choice = random.random()
    if choice < 0.15:
        return str(value)
    if choice < 0.3 and isinstance(value, str):
        return _bytes(value.encode(errors="replace"), random).decode(errors="replace")
    if choice < 0.4 and isinstance(value, int):
        return value + random.choice((-1, 1, 10**6, 10**9, -(10**10), -2 * value))
    return random.choice(ODD_VALUES) if choice < 0.7 else random.choice(ODD_TEXTS)


def _form(content: str, random: Random) -> str:
    pairs = parse_qsl(content, keep_blank_values=True) or [("", "")]
    place = random.randrange(len(pairs))
    name, given = pairs[place]
    choice = random.random()
    if choice < 0.2:
        del pairs[place]
    elif choice < 0.3:
        pairs[place] = (random.choice(ODD_TEXTS), given)
    elif choice < 0.4:
        pairs.insert(0, (name, random.choice(ODD_TEXTS)))
    else:
        pairs[place] = (name, _inner(given, random) or random.choice(ODD_TEXTS))
    return urlencode(pairs, errors="replace")


def _headers(headers: dict[str, str], random: Random) -> dict[str, str]:
    name = random.choice([*headers, "content-type", "content-encoding", "authorization", "ce_specversion"])
    if name in headers and random.random() < 0.3:
        del headers[name]
    elif random.random() < 0.5:
        headers[name] = random.choice(ODD_TEXTS)
    else:  # as a server decodes a header
        headers[name] = _bytes(headers.get(name, "").encode(errors="replace"), random).decode("latin-1")
    return headers


def _url(url: str, random: Random) -> str:
    path, _, query = url.partition("?")
    if random.random() < 0.6:
        return f"{path}?{_form(query, random)}"
    return _bytes(url.encode(errors="replace"), random).decode("latin-1")


def _bytes(body: bytes, random: Random) -> bytes:
    """The bytes with some of them replaced, removed, repeated or in another encoding."""
    begin = random.randrange(len(body) + 1)
    end = min(begin + random.choice((1, 1, 2, 8, 64)), len(body))
    match random.randrange(8):
        case 0:
            return body[:begin]
        case 1:
            return body[:begin] + body[end:]
        case 2:
            return body[:begin] + random.randbytes(end - begin) + body[end:]
        case 3:
            return body[:begin] + random.choice(ODD_TEXTS).encode(errors="replace") + body[end:]
        case 4:
            return body + body
        case 5:
            return body.decode(errors="replace").encode(random.choice(("utf-16", "utf-8-sig", "utf-7")))
        case 6:
            return body[:begin] + body[begin:end] * 50 + body[end:]
        case _:
            return body[:begin] + b"\n" + body[begin:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Finds damaged deliveries on which a dialect fails.")
    parser.add_argument("dialect", choices=sorted(DIALECTS))
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    given = parser.parse_args()
    if not samples_of(given.dialect):
        parser.exit(1, f"{given.dialect} has no samples\n")
    failures = 0
    for seed in range(given.first, given.first + given.count):
        if (failure := fault(damaged(given.dialect, seed))) is not None:
            failures += 1
            if failures <= FAILURES_MAX:
                print(f"--- seed {seed}\n{failure}")
    print(f"{given.dialect}: {given.count:,} damaged deliveries, {failures:,} failures")
    parser.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
