"""Apache Kafka's jars: pinned with hashes in `jars.lock`, fetched by jgo into the local Maven repository.

With the lock, a start needs no dependency resolution (nor Maven and Java): it only compares hashes, and needs
no network. Run as a program, this module resolves Kafka again and prints a new lock.
"""

import contextlib
import fcntl
import hashlib
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jgo
import requests
from jgo.config import GlobalSettings
from jgo.maven import Artifact, MavenContext

from services.ops.terminal.failure import Failure

KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka logs through slf4j, and its artifact does not depend on the binding from slf4j to log4j.
LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"
LOCK = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True)
class Jar:
    coordinate: str
    sha256: str


def class_path() -> list[Path]:
    """The paths of all jars. Each is compared with its hash, and downloaded when it is missing or differs.

    Raises Failure when one can't be downloaded.
    """
    jars = [Jar(*line.split()) for line in LOCK.read_text().splitlines()]
    logging.getLogger("jgo").setLevel(logging.CRITICAL)
    context = MavenContext(repo_cache=GlobalSettings.load().repo_cache, timeout=60)
    paths = [_path(context, jar) for jar in jars]
    if all(map(_is_whole, paths, jars)):
        return paths
    try:
        with _only_one(context.repo_cache), ThreadPoolExecutor(8) as pool:
            missing = [jar for path, jar in zip(paths, jars, strict=True) if not _is_whole(path, jar)]
            if missing:
                print(f"Downloading Apache Kafka: {len(missing)} jars, once.", file=sys.stderr)
            list(pool.map(lambda jar: _download(context, jar), missing))
    except requests.RequestException as error:
        raise Failure(
            f"Apache Kafka can't be downloaded from the Maven repository ({type(error).__name__}): "
            "check the network connection."
        ) from None
    except RuntimeError as error:
        raise Failure(f"Apache Kafka can't be downloaded: {error}.") from None
    except OSError as error:
        raise Failure(
            f"Apache Kafka's jars can't be written to {context.repo_cache}: {error.strerror}."
        ) from None
    return paths


def lock() -> list[Jar]:
    """The artifacts to pin: Kafka, resolved from its Maven coordinate."""
    context = MavenContext(repo_cache=GlobalSettings.load().repo_cache)
    # Resolved separately: log4j's own bill of materials would change the versions of Kafka's dependencies.
    coordinates = [f"{jar.groupId}:{jar.artifactId}:{jar.version}" for jar in jgo.resolve(KAFKA)] + [LOGGING]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda coordinate: _artifact(context, coordinate).resolve(), coordinates))
    return [
        Jar(coordinate, _sha256(path)) for coordinate, path in sorted(zip(coordinates, paths, strict=True))
    ]


def _artifact(context: MavenContext, coordinate: str) -> Artifact:
    group, artifact, version = coordinate.split(":")
    return context.project(group, artifact).at_version(version).artifact()


def _path(context: MavenContext, jar: Jar) -> Path:
    artifact = _artifact(context, jar.coordinate)
    return context.repo_cache / artifact.component.path_prefix / artifact.cached_filename


def _download(context: MavenContext, jar: Jar) -> None:
    # jgo accepts any existing file, even one whose download was interrupted.
    _path(context, jar).unlink(missing_ok=True)
    path = _artifact(context, jar.coordinate).resolve()
    if not _is_whole(path, jar):
        path.unlink()
        raise Failure(
            f"The downloaded {jar.coordinate} has the wrong SHA-256: callfold was tested with another file."
        )


def _is_whole(path: Path, jar: Jar) -> bool:
    return path.exists() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _only_one(repository: Path) -> Iterator[None]:
    """Lets one process at a time write to the repository."""
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / ".callfold.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for each in lock():
        print(each.coordinate, each.sha256)
