"""A source: one telephony system that delivers in its own form."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from shared.calls.zones import find_time_zone

OWN_DOMAINS: Final = "own_domains"
TIME_ZONE: Final = "time_zone"


@dataclass(frozen=True)
class Source:
    """One source as its owner configured it.

    `organizations` maps the values that records name to organizations. `organizations_by` is the field, or
    the kind of field, that records name them by. `organization` owns the records that name none. `url` is the
    public address that the system calls: signatures may contain it.
    """

    id: UUID
    name: str
    dialect: str
    organization: UUID | None = None
    organizations: Mapping[str, UUID] = field(default_factory=dict)
    organizations_by: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    topic: str | None = None

    def own_domains(self) -> Collection[str]:
        """The SIP domains that belong to this source's organizations: the setting `own_domains`, else the
        mapped values."""
        own: Collection[str] = self.settings.get(OWN_DOMAINS) or self.organizations
        return own

    def time_zone(self) -> ZoneInfo | None:
        """The zone of this source's local times; None if the setting `time_zone` is not given.

        `source create` refuses unknown names, so an unknown one counts as not given."""
        name = self.settings.get(TIME_ZONE)
        return find_time_zone(name) if isinstance(name, str) else None
