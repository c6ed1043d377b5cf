"""A secured broker: SASL and mutual TLS on separate listeners, OAuth tokens, ACLs."""

import asyncio
import base64
import json
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from services.ops.embedded import kafka
from services.ops.embedded.servers import Server
from services.ops.embedded.state import free_ports
from tests.support.kafka_requests import administer, allow, set_password
from tests.support.left_open import forget_what_is_left_open

SESSION_SECONDS: Final = 2
"""The lifetime of a SASL session. aiokafka does not reauthenticate, so the broker closes each connection
after it."""

KEY_PASSWORD: Final = "key-secret"

Settings = dict[str, str]
"""Settings of callfold, without their prefix."""

LISTENERS: Final = """
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},\
SASL://127.0.0.1:{sasl},MUTUAL://127.0.0.1:{mutual}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://localhost:{sasl},MUTUAL://localhost:{mutual}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={directory}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={directory}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/
connections.max.reauth.ms={session_ms}

listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_callfold="plain-secret";
listener.name.sasl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl.oauthbearer.sasl.server.callback.handler.class=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.sasl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={jwks}
listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.audience=kafka
listener.name.sasl.oauthbearer.sasl.oauthbearer.expected.issuer=https://identity.example.com
listener.name.sasl.oauthbearer.sasl.oauthbearer.clock.skew.seconds=0

authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@dataclass(frozen=True)
class Issuer:
    """Signs tokens, as an identity provider does."""

    key: rsa.RSAPrivateKey

    def token(self, subject: str, *, lifetime_seconds: float = 3600) -> str:
        now = time.time()
        claims: dict[str, object] = {"iss": "https://identity.example.com", "aud": "kafka", "sub": subject}
        # Kafka counts in whole seconds, and the token must not expire early.
        claims |= {"iat": int(now), "exp": math.ceil(now + lifetime_seconds)}
        signed = f"{_part({'alg': 'RS256', 'kid': 'one'})}.{_part(claims)}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def public_keys(self) -> str:
        numbers = self.key.public_key().public_numbers()
        key: dict[str, object] = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256"}
        key |= {
            name: _base64(number.to_bytes((number.bit_length() + 7) // 8, "big"))
            for name, number in (("n", numbers.n), ("e", numbers.e))
        }
        return json.dumps({"keys": [key]})


@dataclass(frozen=True)
class SecuredKafka:
    """The broker, its addresses, and the files that its clients need."""

    server: Server
    directory: Path
    plain: str
    sasl: str
    mutual: str
    ca: trustme.CA
    issuer: Issuer

    @property
    def ca_file(self) -> str:
        return str(self.directory / "ca.pem")

    async def set_password(self, mechanism: str, user: str, password: str) -> None:
        """Creates the user, or changes its password."""
        await administer(self.plain, set_password(mechanism, user, password))

    async def allow(self, user: str, resource: int, name: str, operations: Sequence[int]) -> None:
        """Grants the user these operations on all topics or groups with this name prefix."""
        await administer(self.plain, allow(user, resource, name, operations))


@contextmanager
def secured_kafka(directory: Path) -> Iterator[SecuredKafka]:
    """Runs the broker in an empty directory within the block. Only users with a grant of `allow` have rights,
    except clients of the plaintext listener."""
    plain, controller, sasl, mutual = free_ports(4)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(directory / "ca.pem")
    certificate = ca.issue_cert("localhost")
    # Java reads private keys only in PKCS #8.
    (directory / "broker.pem").write_bytes(
        pkcs8(certificate.private_key_pem) + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    )
    issuer = Issuer(rsa.generate_private_key(65537, 2048))
    (directory / "keys.json").write_text(issuer.public_keys())
    jwks = (directory / "keys.json").as_uri()
    kafka.prepare(directory / "kafka", plain, controller)
    with (directory / "kafka" / "server.properties").open("a") as properties:
        properties.write(
            LISTENERS.format(
                plain=plain,
                controller=controller,
                sasl=sasl,
                mutual=mutual,
                directory=directory,
                session_ms=SESSION_SECONDS * 1000,
                jwks=jwks,
            )
        )
    java, *arguments = kafka.command(directory / "kafka")
    bootstrap = f"127.0.0.1:{plain}"
    server = Server(
        [java, f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}", *arguments],
        directory / "kafka.log",
        None,
        signal.SIGTERM,
        lambda: kafka.wait_until_ready(bootstrap),
    )
    try:
        asyncio.run(server.start())
        forget_what_is_left_open()
        yield SecuredKafka(
            server, directory, bootstrap, f"localhost:{sasl}", f"localhost:{mutual}", ca, issuer
        )
    finally:
        server.stop()


def sasl(secured: SecuredKafka, mechanism: str, **settings: str) -> Settings:
    return {
        "kafka_bootstrap": secured.sasl,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": mechanism,
        "kafka_ca_file": secured.ca_file,
        **settings,
    }


def with_certificate(
    secured: SecuredKafka, user: str, directory: Path, by: trustme.CA | None = None
) -> Settings:
    """Settings of mutual TLS with an encrypted key. The certificate is issued by the broker's authority, or
    another."""
    certificate = (by or secured.ca).issue_cert("callfold.example.com", common_name=user)
    certificate.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    (directory / "key.pem").write_bytes(pkcs8(certificate.private_key_pem, KEY_PASSWORD))
    return {
        "kafka_bootstrap": secured.mutual,
        "kafka_security_protocol": "SSL",
        "kafka_ca_file": secured.ca_file,
        "kafka_certificate_file": str(directory / "certificate.pem"),
        "kafka_key_file": str(directory / "key.pem"),
        "kafka_key_password": KEY_PASSWORD,
    }


def pkcs8(key: trustme.Blob, password: str | None = None) -> bytes:
    """A private key in PKCS #8, encrypted if there is a password."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password.encode())
    loaded = serialization.load_pem_private_key(key.bytes(), None)
    return loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _part(content: dict[str, object]) -> str:
    return _base64(json.dumps(content).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
