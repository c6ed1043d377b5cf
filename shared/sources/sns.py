"""The messages of Amazon SNS over HTTPS: their canonical text, their addresses, and their signature.

Pure: a caller fetches the certificate and visits the confirmation's address, after these functions have
checked them. A valid signature proves that SNS sent the message, for any customer's topic. So a caller also
needs `check_topic`. Every function raises Refused with a clause that contains no secret.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.x509 import load_pem_x509_certificate

from shared.sources.delivery import Delivery
from shared.sources.envelopes import json_value
from shared.sources.outcome import Quarantined, Refused
from shared.sources.signatures import base64_bytes

MESSAGE_TYPE: Final = "x-amz-sns-message-type"
RAW_DELIVERY: Final = "x-amz-sns-rawdelivery"
NOTIFICATION: Final = "Notification"
CONFIRMATION: Final = "SubscriptionConfirmation"
_OF_CONFIRMATIONS: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: _OF_CONFIRMATIONS,
    "UnsubscribeConfirmation": _OF_CONFIRMATIONS,
}
"""The fields of the canonical text, in order, by the message's type. Only Subject can be absent."""
HASHES: Final[Mapping[str, HashAlgorithm]] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 (SNS's own choice)
"""SignatureVersion."""
# The region is checked by its form: `sns.s3-eu-west-1.amazonaws.com` is a customer's bucket.
_HOST: Final = (
    r"sns\.(?:cn(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com\.cn"
    r"|(?!cn-)[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}\.amazonaws\.com)"
)
_is_certificate: Final = re.compile(
    rf"https://{_HOST}/SimpleNotificationService-[0-9A-Za-z]{{1,64}}\.pem"
).fullmatch
_is_confirmation: Final = re.compile(
    rf'https://{_HOST}/\?Action=ConfirmSubscription&[^\s#\\"<>]+', re.ASCII
).fullmatch


def is_message(delivery: Delivery) -> bool:
    """Whether a request is a message of SNS that has a signature. Raw deliveries have none."""
    return MESSAGE_TYPE in delivery.headers and delivery.headers.get(RAW_DELIVERY) != "true"


def message_of(body: bytes) -> Mapping[str, Any]:
    """The message in a request's body."""
    try:
        message = json_value(body, "The body")
    except Quarantined:
        raise Refused("the message of SNS is not JSON") from None
    if not isinstance(message, dict):
        raise Refused("the message of SNS is not an object")
    return message


def signed_text(message: Mapping[str, Any]) -> str:
    """The canonical text that SNS signs: the name and the value of each field, each on a line."""
    kind = message.get("Type")
    if not isinstance(kind, str) or kind not in SIGNED:
        raise Refused("the message's Type is not one of SNS")
    lines = []
    for name in SIGNED[kind]:
        if name == "Subject" and message.get(name) is None:
            continue
        lines += [name, _field(message, name)]
    return "".join(f"{line}\n" for line in lines)


def certificate_url(message: Mapping[str, Any]) -> str:
    """The address of the certificate, which is one of SNS itself."""
    url = _field(message, "SigningCertURL")
    if not _is_certificate(url):
        raise Refused("the message's SigningCertURL is not an address of SNS")
    return url


def confirmation_url(message: Mapping[str, Any]) -> str:
    """The address that confirms the subscription, which is one of SNS itself. Visit it only after
    `check_signature` and `check_topic`. The address of another type's message would subscribe again."""
    if message.get("Type") != CONFIRMATION:
        raise Refused(f"the message's Type is not {CONFIRMATION}")
    url = _field(message, "SubscribeURL")
    if not _is_confirmation(url):
        raise Refused("the message's SubscribeURL is not an address of SNS")
    return url


def check_topic(message: Mapping[str, Any], topics: Collection[str]) -> None:
    """Checks that the message is of one of the source's topics, by their ARNs."""
    if _field(message, "TopicArn") not in topics:
        raise Refused("the message's TopicArn is not a topic of the source")


def check_signature(message: Mapping[str, Any], certificate: bytes) -> None:
    """Checks the message's signature with the certificate (PEM) from `certificate_url`."""
    algorithm = HASHES.get(_field(message, "SignatureVersion"))
    if algorithm is None:
        raise Refused("the message's SignatureVersion is neither 1 nor 2")
    signature = base64_bytes(_field(message, "Signature"), "the message's Signature")
    signed = signed_text(message).encode("utf-8", "surrogatepass")
    try:
        _key(certificate).verify(signature, signed, PKCS1v15(), algorithm)
    except InvalidSignature:
        raise Refused("the message's Signature is wrong") from None


def _key(certificate: bytes) -> RSAPublicKey:
    try:
        key = load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        raise Refused("the certificate of SNS is not a certificate in PEM") from None
    if not isinstance(key, RSAPublicKey):
        raise Refused("the certificate of SNS has no RSA key")
    return key


def _field(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise Refused(f"the message has no {name}")
    return value
