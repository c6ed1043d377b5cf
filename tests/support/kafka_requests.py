"""Administrative requests to a broker that aiokafka does not offer."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Array,
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)

TOPIC, GROUP, PREFIXED, ALLOWED = 2, 3, 4, 3
READ, CREATE, DESCRIBE, DESCRIBE_CONFIGS = 3, 5, 8, 10
MECHANISMS = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}
ITERATIONS = 4096


async def administer(bootstrap: str, request: "Request[Any]") -> None:
    """Sends the request. Each of its results must be a success."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin._send_request(request)
        assert answer.error_codes() == {0}, answer
    finally:
        await admin.close()


def allow(user: str, resource: int, name: str, operations: Sequence[int]) -> "CreateAcls":
    """Grants the user these operations on all topics or groups with this name prefix."""
    return CreateAcls(
        [(resource, name, PREFIXED, f"User:{user}", "*", operation, ALLOWED) for operation in operations]
    )


def set_password(mechanism: str, user: str, password: str) -> "SetPassword":
    """Creates the user, or changes its password, for this SCRAM mechanism."""
    number, digest = MECHANISMS[mechanism]
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
    return SetPassword((user, number, ITERATIONS, salt, salted, {}))


class CreateAclsResponse(Response):  # type: ignore[misc]
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", String("utf-8")))),
    )

    def error_codes(self) -> set[int]:
        return {code for code, _ in self.results}


class CreateAclsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = CreateAclsResponse
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission_type", Int8),
            ),
        )
    )


class CreateAcls(Request[CreateAclsRequest]):  # type: ignore[misc]
    API_KEY = 30

    def __init__(self, creations: list[tuple[int, str, int, str, str, int, int]]) -> None:
        self._creations = creations

    def build(self, request_struct_class: type[CreateAclsRequest]) -> CreateAclsRequest:
        return request_struct_class(self._creations)


class SetPasswordResponse(Response):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )

    def error_codes(self) -> set[int]:
        return {code for _, code, *_ in self.results}


class SetPasswordRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = SetPasswordResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class SetPassword(Request[SetPasswordRequest]):  # type: ignore[misc]
    API_KEY = 51

    def __init__(self, upsertion: tuple[str, int, int, bytes, bytes, dict[int, bytes]]) -> None:
        self._upsertion = upsertion

    def build(self, request_struct_class: type[SetPasswordRequest]) -> SetPasswordRequest:
        return request_struct_class([], [self._upsertion], {})
