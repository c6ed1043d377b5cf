"""A message of SNS counts only with SNS's own signature, and only SNS's own addresses are visited."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared.sources import sns
from shared.sources.delivery import Delivery
from shared.sources.outcome import Refused

TOPIC: Final = "arn:aws:sns:eu-central-1:111122223333:callfold"
CERTIFICATE_URL: Final = (
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)
SUBSCRIBE_URL: Final = (
    f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f"
)
RECEIVED_AT: Final = datetime(2026, 11, 24, 10, tzinfo=UTC)


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def _certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(RECEIVED_AT - timedelta(days=1))
        .not_valid_after(RECEIVED_AT + timedelta(days=1))
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )


def _signed(message: Mapping[str, Any], version: str) -> dict[str, Any]:
    text = sns.signed_text(message).encode()
    signature = _key().sign(text, PKCS1v15(), sns.HASHES[version])
    return {**message, "SignatureVersion": version, "Signature": b64encode(signature).decode()}


def _notification() -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Über",
        "Message": '{"a": 1}\nsecond line',
        "Timestamp": "2026-11-24T10:00:00.000Z",
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    }


def _confirmation() -> dict[str, Any]:
    return {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe.",
        "SubscribeURL": SUBSCRIBE_URL,
        "Timestamp": "2026-11-24T10:00:00.000Z",
        "SigningCertURL": CERTIFICATE_URL,
    }


def test_the_canonical_text_of_a_notification() -> None:
    assert sns.signed_text(_notification()) == (
        'Message\n{"a": 1}\nsecond line\nMessageId\n22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324\nSubject\nÜber\n'
        f"Timestamp\n2026-11-24T10:00:00.000Z\nTopicArn\n{TOPIC}\nType\nNotification\n"
    )


@pytest.mark.parametrize("without", [{}, {"Subject": None}])
def test_the_canonical_text_has_no_absent_subject(without: dict[str, Any]) -> None:
    message = _notification()
    del message["Subject"]
    assert "Subject" not in sns.signed_text({**message, **without})


def test_the_canonical_text_of_a_confirmation() -> None:
    assert sns.signed_text(_confirmation()) == (
        "Message\nYou have chosen to subscribe.\nMessageId\n165545c9-2a5c-472c-8df2-7ff2be2b3b1b\n"
        f"SubscribeURL\n{SUBSCRIBE_URL}\nTimestamp\n2026-11-24T10:00:00.000Z\nToken\n2336412f\n"
        f"TopicArn\n{TOPIC}\nType\nSubscriptionConfirmation\n"
    )


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("make", [_notification, _confirmation])
def test_a_genuine_signature_passes(make: Callable[[], dict[str, Any]], version: str) -> None:
    sns.check_signature(_signed(make(), version), _certificate(_key()))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "changed",
    [
        {"Message": '{"a": 2}\nsecond line'},
        {"MessageId": "another"},
        {"Subject": None},
        {"TopicArn": f"{TOPIC}2"},
        {"Timestamp": "2026-11-24T10:00:00.001Z"},
        {"Signature": b64encode(bytes(256)).decode()},
        {"Signature": ""},
    ],
)
def test_a_changed_message_is_refused(changed: dict[str, Any], version: str) -> None:
    message = {**_signed(_notification(), version), **changed}
    with pytest.raises(Refused, match="Signature is wrong"):
        sns.check_signature(message, _certificate(_key()))


def test_the_other_version_of_a_signature_is_refused() -> None:
    message = {**_signed(_notification(), "2"), "SignatureVersion": "1"}
    with pytest.raises(Refused, match="Signature is wrong"):
        sns.check_signature(message, _certificate(_key()))


def test_the_signature_of_another_key_is_refused() -> None:
    other = _certificate(rsa.generate_private_key(65_537, 2_048))
    with pytest.raises(Refused, match="Signature is wrong"):
        sns.check_signature(_signed(_notification(), "2"), other)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"SignatureVersion": "3"}, "neither 1 nor 2"),
        ({"SignatureVersion": 1}, "no SignatureVersion"),
        ({"Signature": "not base64!"}, "not base64"),
        ({"Signature": None}, "no Signature"),
        ({"Type": "Other"}, "Type is not one of SNS"),
        ({"Type": ["Notification"]}, "Type is not one of SNS"),
        ({"Message": {}}, "no Message"),
    ],
)
def test_a_malformed_message_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        sns.check_signature({**_signed(_notification(), "2"), **changed}, _certificate(_key()))


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (b"", "not a certificate"),
        (b"<html>", "not a certificate"),
        (_certificate(ec.generate_private_key(ec.SECP256R1())), "no RSA key"),
    ],
)
def test_another_certificate_is_refused(certificate: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        sns.check_signature(_signed(_notification(), "2"), certificate)


@pytest.mark.parametrize(
    "host",
    [
        "sns.eu-central-1.amazonaws.com",
        "sns.us-gov-west-1.amazonaws.com",
        "sns.ap-southeast-2.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
    ],
)
def test_the_hosts_of_sns_are_visited(host: str) -> None:
    certificate = CERTIFICATE_URL.replace("sns.eu-central-1.amazonaws.com", host)
    confirmation = SUBSCRIBE_URL.replace("sns.eu-central-1.amazonaws.com", host)
    assert sns.certificate_url({"SigningCertURL": certificate}) == certificate
    assert sns.confirmation_url({**_confirmation(), "SubscribeURL": confirmation}) == confirmation


@pytest.mark.parametrize(
    "origin",
    [
        "http://sns.eu-central-1.amazonaws.com",
        "HTTPS://sns.eu-central-1.amazonaws.com",
        "https://sns.eu-central-1.amazonaws.com:8443",
        "https://user@sns.eu-central-1.amazonaws.com",
        "https://sns.eu-central-1.amazonaws.com.example.test",
        "https://sns.eu-central-1.amazonaws.com.cn",
        "https://sns.cn-north-1.amazonaws.com",
        "https://sns.eu-central-1.amazonaws.co",
        "https://sns.eu-central-1xamazonaws.com",
        "https://example.test/sns.eu-central-1.amazonaws.com",
        "https://sns.eu-central-1.amazonaws.com@example.test",
        "https://sns.eu-central-1.amazonaws.com\\@example.test",
        "https://sns.s3.amazonaws.com",
        "https://sns.s3-eu-central-1.amazonaws.com",
        "https://sns.s3.eu-central-1.amazonaws.com",
        "https://bucket.s3.amazonaws.com",
        "https://sns.amazonaws.com",
        "https://xsns.eu-central-1.amazonaws.com",
        "https://127.0.0.1",
        " https://sns.eu-central-1.amazonaws.com",
        "https://sns.eu-\ncentral-1.amazonaws.com",
        "",
    ],
)
def test_no_other_host_is_visited(origin: str) -> None:
    certificate = CERTIFICATE_URL.replace("https://sns.eu-central-1.amazonaws.com", origin)
    confirmation = SUBSCRIBE_URL.replace("https://sns.eu-central-1.amazonaws.com", origin)
    with pytest.raises(Refused, match="SigningCertURL is not an address of SNS"):
        sns.certificate_url({"SigningCertURL": certificate})
    with pytest.raises(Refused, match="SubscribeURL is not an address of SNS"):
        sns.confirmation_url({**_confirmation(), "SubscribeURL": confirmation})


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/SimpleNotificationService-0123.pem?x=1",
        "/SimpleNotificationService-0123.pem#x",
        "/SimpleNotificationService-0123.pem\n",
        "/SimpleNotificationService-.pem",
        "/SimpleNotificationService-0123/../x.pem",
        "/x/SimpleNotificationService-0123.pem",
        "/?Action=ConfirmSubscription&x=.pem",
    ],
)
def test_no_other_certificate_is_fetched(path: str) -> None:
    with pytest.raises(Refused):
        sns.certificate_url({"SigningCertURL": f"https://sns.eu-central-1.amazonaws.com{path}"})


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?Action=DeleteTopic&TopicArn=x",
        "/?TopicArn=x&Action=ConfirmSubscription",
        "/x?Action=ConfirmSubscription&TopicArn=x",
        "/?Action=ConfirmSubscription&TopicArn=x y",
        "/?Action=ConfirmSubscription&TopicArn=x#y",
    ],
)
def test_no_other_address_confirms(path: str) -> None:
    url = f"https://sns.eu-central-1.amazonaws.com{path}"
    with pytest.raises(Refused):
        sns.confirmation_url({**_confirmation(), "SubscribeURL": url})


@pytest.mark.parametrize("kind", ["UnsubscribeConfirmation", "Notification", None])
def test_only_a_confirmation_is_confirmed(kind: str | None) -> None:
    with pytest.raises(Refused, match="Type is not SubscriptionConfirmation"):
        sns.confirmation_url({**_confirmation(), "Type": kind})


def test_a_message_of_another_topic_is_refused() -> None:
    sns.check_topic(_notification(), [TOPIC])
    for topics in ([], [f"{TOPIC}2"]):
        with pytest.raises(Refused, match="TopicArn"):
            sns.check_topic(_notification(), topics)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        sns.message_of(body)


def test_a_message_is_known_by_its_headers() -> None:
    def delivery(**headers: str) -> Delivery:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Delivery(b"{}", RECEIVED_AT, given, "POST", "https://hooks.example.test/x")

    assert sns.message_of(b'{"Type": "Notification"}') == {"Type": "Notification"}
    assert sns.is_message(delivery(x_amz_sns_message_type="Notification"))
    assert not sns.is_message(delivery())
    raw = delivery(x_amz_sns_message_type="Notification", x_amz_sns_rawdelivery="true")
    assert not sns.is_message(raw)
