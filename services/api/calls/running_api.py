"""The parts of the running API that the routes of calls know."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.api.calls.recording_store import RecordingStore
from services.api.figures.answer_cache import ApiWithAnswers
from shared.secret_box import SecretBox
from shared.webhooks.target import Network


@dataclass(frozen=True, kw_only=True)
class Api(ApiWithAnswers):
    """The parts of the running API that the routes of calls use."""

    search_calls: int
    """How many calls a list or an export may examine for filters that no index or count serves."""
    export_seconds: float
    """The most seconds that one export may take."""
    secret_box: SecretBox
    """Encrypts the secrets of webhooks."""
    webhook_networks: Sequence[Network]
    """Networks that are not public and may have endpoints of webhooks."""
    recording_store: RecordingStore | None
    """None: every recording's link is the one that its source sent."""
