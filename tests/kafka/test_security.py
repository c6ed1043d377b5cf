"""Kafka with SASL and TLS: each way to connect, and the message for each failure."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
import trustme

from shared.kafka.topic import DELIVERY_BYTES_MAX, ensure_topic
from tests.support.command_line import callfold
from tests.support.ingesting import GROUP as GROUPS
from tests.support.ingesting import call, keyed
from tests.support.kafka_requests import DESCRIBE_CONFIGS, GROUP, READ, TOPIC
from tests.support.pipeline import Pipeline, calls
from tests.support.processes import Service, until
from tests.support.secured_kafka import (
    KEY_PASSWORD,
    SecuredKafka,
    Settings,
    sasl,
    secured_kafka,
    with_certificate,
)
from tests.support.token_endpoint import SECRET, TokenEndpoint, token_endpoint, with_token_url

pytestmark = [pytest.mark.processes, pytest.mark.long]

USER: Final = "callfold"
SECRETS: Final = ("plain-secret", "scram-secret", KEY_PASSWORD, SECRET)


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredKafka]:
    """The broker, whose users have no permissions yet."""
    with (
        tempfile.TemporaryDirectory(prefix="callfold-kafka-") as scratch,
        secured_kafka(Path(scratch)) as one,
    ):
        yield one


@pytest.fixture(scope="module")
async def bootstrap(secured: SecuredKafka) -> str:
    """The listener on which topics are created and records published. From now on the user has exactly the
    permissions that docs/how-to/connect-kafka-with-tls-and-sasl.md lists."""
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        await secured.set_password(mechanism, USER, "scram-secret")
    await secured.allow(USER, TOPIC, "call-events-", [READ, DESCRIBE_CONFIGS])
    await secured.allow(USER, GROUP, GROUPS, [READ])
    return secured.plain


@pytest.fixture
def endpoint(secured: SecuredKafka) -> Iterator[TokenEndpoint]:
    with token_endpoint(secured.issuer, secured.ca, USER) as one:
        yield one


@pytest.fixture(
    params=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "token endpoint", "token file", "mutual TLS"]
)
def way(
    request: pytest.FixtureRequest, secured: SecuredKafka, endpoint: TokenEndpoint, tmp_path: Path
) -> Settings:
    """Each way to connect, as settings."""
    match request.param:
        case "PLAIN":
            return sasl(secured, "PLAIN", kafka_username=USER, kafka_password="plain-secret")
        case "token endpoint":
            return with_token_url(secured, endpoint)
        case "token file":
            (tmp_path / "token").write_text(secured.issuer.token(USER) + "\n")
            return sasl(secured, "OAUTHBEARER", kafka_token_file=str(tmp_path / "token"))
        case "mutual TLS":
            return with_certificate(secured, USER, tmp_path)
        case scram:
            return sasl(secured, scram, kafka_username=USER, kafka_password="scram-secret")


async def test_each_way_in_is_enough_for_ingest_and_the_commands(
    pipeline: Pipeline, way: Settings, topic: str, database_url: str
) -> None:
    await pipeline.publish(keyed(calls(20)))
    settings = {"database_url": database_url, "topic": topic, "consumer_group": f"{GROUPS}-{topic}", **way}
    assert (await callfold("lag", "--json", **settings)).json["consumer_lag"] == 80
    ingest = pipeline.start(**way, log_level="DEBUG")
    await pipeline.consumed()
    await pipeline.assert_exact(20)
    assert (await callfold("lag", "--json", **settings)).json["consumer_lag"] == 0
    all_three = {**settings, "deliveries_topic": f"{topic}-deliveries", "calls_topic": f"{topic}-calls"}
    deliveries, calls_topic = all_three["deliveries_topic"], all_three["calls_topic"]
    await ensure_topic(pipeline.bootstrap, deliveries, 1, record_bytes_max=DELIVERY_BYTES_MAX)
    await ensure_topic(pipeline.bootstrap, calls_topic, 1, compacted=True)
    assert (await callfold("topic", "--json", **all_three)).json["partitions"] == 4
    assert ingest.stop() == 0
    assert not [secret for secret in SECRETS if ingest.said(secret)]


def connections(service: Service, address: str) -> set[int]:
    """The local ports of the service's connections to the broker."""
    port = int(address.rpartition(":")[2])
    found = psutil.Process(service.pid).net_connections("tcp")
    return {one.laddr.port for one in found if one.raddr and one.raddr.port == port}


def all_are_new(service: Service, address: str, former: set[int]) -> bool:
    now = connections(service, address)
    return bool(now) and not now & former


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "token endpoint"], indirect=True)
async def test_connections_that_the_broker_cuts_off_when_their_session_is_over_are_made_anew(
    pipeline: Pipeline, way: Settings, endpoint: TokenEndpoint, topic: str
) -> None:
    await pipeline.publish(keyed(calls(10)))
    ingest = pipeline.start(**way)
    await pipeline.consumed()
    for round_ in range(1, 3):
        former = connections(ingest, way["kafka_bootstrap"])
        await until(lambda: all_are_new(ingest, way["kafka_bootstrap"], former), "new connections")  # noqa: B023
        more = range(10 * round_, 10 * round_ + 10)
        await pipeline.publish(keyed([event for n in more for event in call(n)]))
        await pipeline.consumed()
    await pipeline.assert_exact(30)
    assert ingest.stop() == 0
    assert endpoint.granted in (0, 2), "one token for waiting for the topic, and one for all of consuming"


async def test_a_token_that_is_over_before_its_time_is_replaced(
    pipeline: Pipeline, secured: SecuredKafka, endpoint: TokenEndpoint
) -> None:
    endpoint.lifetime_seconds, endpoint.told_seconds = 1, 3600
    ingest = pipeline.start(**with_token_url(secured, endpoint))
    await until(lambda: endpoint.granted >= 4, "ingest to have asked for a token again, and again")
    await pipeline.publish(keyed(calls(10)))
    await pipeline.consumed()
    await pipeline.assert_exact(10)
    assert ingest.said("the token is refused (invalid_token)")
    assert ingest.stop() == 0


async def test_a_token_endpoint_that_is_away_is_waited_for(
    pipeline: Pipeline, secured: SecuredKafka, endpoint: TokenEndpoint
) -> None:
    endpoint.lifetime_seconds = 2
    endpoint.away = True
    ingest = pipeline.start(**with_token_url(secured, endpoint))
    await until(lambda: endpoint.refused >= 2, "ingest to have asked for a token at the start, and again")
    endpoint.away = False
    await pipeline.publish(keyed(calls(10)))
    await pipeline.consumed()
    endpoint.away = True
    began, refused = time.monotonic(), endpoint.refused
    await until(lambda: endpoint.refused >= refused + 3, "ingest to have asked for tokens while running")
    assert time.monotonic() - began > 2, "it asks no more than once a second"
    await pipeline.publish(keyed(calls(10, 20)))
    endpoint.away = False
    await pipeline.consumed()
    await pipeline.assert_exact(20)
    assert ingest.said(f"no token from {endpoint.url}: it answers 503")
    assert ingest.stop() == 0


async def test_a_password_that_was_changed_ends_ingest_and_the_next_start_goes_on(
    pipeline: Pipeline, secured: SecuredKafka, topic: str
) -> None:
    await secured.set_password("SCRAM-SHA-256", "other", "old-secret")
    await secured.allow("other", TOPIC, topic, [READ])
    await secured.allow("other", GROUP, GROUPS, [READ])
    old, new = (
        sasl(secured, "SCRAM-SHA-256", kafka_username="other", kafka_password=f"{age}-secret")
        for age in ("old", "new")
    )
    await pipeline.publish(keyed(calls(10)))
    first = pipeline.start(**old)
    await pipeline.consumed()
    await secured.set_password("SCRAM-SHA-256", "other", "new-secret")
    await until(lambda: not first.running, "ingest to end")
    assert first.exit_status == 1
    assert first.log.read_text().count("the broker refuses the credentials") == 1
    assert "Traceback" not in first.log.read_text()
    await pipeline.publish(keyed(calls(10, 20)))
    await pipeline.run_until_consumed(**new)
    await pipeline.assert_exact(20)


@pytest.fixture(
    params=[
        "wrong password",
        "unknown user",
        "unknown authority",
        "another host's certificate",
        "expired token",
        "token of nobody",
        "no certificate",
        "a stranger's certificate",
    ]
)
def refused(request: pytest.FixtureRequest, secured: SecuredKafka, tmp_path: Path) -> tuple[Settings, str]:
    """Invalid combinations of settings, and the message of each."""
    good = sasl(secured, "PLAIN", kafka_username=USER, kafka_password="plain-secret")
    token = tmp_path / "token"
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    match request.param:
        case "wrong password":
            wrong = {"kafka_password": "wrong-secret"}
            return (
                good | wrong,
                "refuses the credentials: Authentication failed: Invalid username or password",
            )
        case "unknown user":
            return (
                sasl(secured, "SCRAM-SHA-512", kafka_username="nobody", kafka_password="scram-secret"),
                "the broker refuses the credentials: Authentication failed during authentication due to "
                "invalid credentials with SASL mechanism SCRAM-SHA-512",
            )
        case "unknown authority":
            return (
                good | {"kafka_ca_file": str(tmp_path / "stranger.pem")},
                "the broker's certificate is not trusted: unable to get local issuer certificate",
            )
        case "another host's certificate":
            return (
                good | {"kafka_bootstrap": secured.sasl.replace("localhost", "127.0.0.1")},
                "the broker's certificate is not trusted: IP address mismatch, certificate is not "
                "valid for '127.0.0.1'",
            )
        case "expired token":
            token.write_text(secured.issuer.token(USER, lifetime_seconds=-1))
        case "token of nobody":
            token.write_text("no.real.token")
        case "no certificate":
            tls = {"kafka_bootstrap": secured.mutual, "kafka_security_protocol": "SSL"}
            return tls | {"kafka_ca_file": secured.ca_file}, (
                "the broker refuses the client's certificate: certificate required"
            )
        case "a stranger's certificate":
            return with_certificate(secured, USER, tmp_path, stranger), (
                "the broker refuses the client's certificate: certificate unknown"
            )
    return sasl(secured, "OAUTHBEARER", kafka_token_file=str(token)), (
        "the broker refuses the credentials: the token is refused (invalid_token)"
    )


async def test_what_is_refused_is_told_by_each_command_and_ends_ingest(
    pipeline: Pipeline, refused: tuple[Settings, str], topic: str, database_url: str
) -> None:
    wrong, said = refused
    settings = {"database_url": database_url, "topic": topic, **wrong}
    for command in (("lag",), ("topic", "--wait", "60")):
        told = await callfold(*command, **settings)
        assert told.status == 1
        assert told.failure.startswith(f"Cannot use Kafka at {wrong['kafka_bootstrap']}: ")
        assert told.failure.endswith(f"{said}.")
    ingest = pipeline.start(**wrong)
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.exit_status == 1
    assert ingest.said(f"{said}.")
    assert not ingest.said("Traceback")
    assert not [secret for secret in (*SECRETS, "wrong-secret") if ingest.said(secret)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_client_secret": "wrong-secret"}, "no token from {url}: it answers 401 invalid_client."),
        ({"kafka_token_scope": "other"}, "no token from {url}: it answers 400 invalid_request."),
        ({"kafka_token_url": "https://localhost:1/token"}, "no token from https://localhost:1/token: "),
    ],
)
async def test_a_token_that_can_not_be_had_is_told_by_a_command(
    changes: Settings, said: str, secured: SecuredKafka, endpoint: TokenEndpoint, bootstrap: str
) -> None:
    told = await callfold("topic", **with_token_url(secured, endpoint) | changes)
    assert told.failure.startswith(f"Cannot use Kafka at {secured.sasl}: {said.format(url=endpoint.url)}")
    assert "secret" not in told.failure


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
async def test_a_protocol_that_is_not_the_listeners_is_told(
    protocol: str, secured: SecuredKafka, bootstrap: str
) -> None:
    where = secured.sasl if protocol == "PLAINTEXT" else secured.plain
    told = await callfold("topic", kafka_bootstrap=where, kafka_security_protocol=protocol)
    assert told.failure == (
        f"Cannot use Kafka at {where}: the broker closed the connection; check that "
        "CALLFOLD_KAFKA_SECURITY_PROTOCOL matches its listener."
    )


async def test_what_the_user_may_not_do_is_told(
    pipeline: Pipeline, secured: SecuredKafka, topic: str, database_url: str
) -> None:
    way = sasl(secured, "PLAIN", kafka_username=USER, kafka_password="plain-secret")
    making = await callfold("topic", topic="call-events-new", **way)
    assert making.failure.startswith(f"Cannot use Kafka at {secured.sasl}: this user is not authorized ")
    hidden = {"database_url": database_url, "topic": "hidden", **way}
    assert (await callfold("lag", **hidden)).failure.startswith(
        "Kafka has no topic hidden, or this user may not"
    )
    ingest = pipeline.start(**way, consumer_group="forbidden")
    await until(lambda: not ingest.running, "ingest to end")
    assert ingest.exit_status == 1
    assert ingest.said("this user is not authorized for the group: forbidden.")
