"""The settings of the API's streams of changes."""

from pydantic import Field

from shared.settings.base import Settings


class StreamSettings(Settings):
    api_streams: int = Field(
        500,
        ge=1,
        description="The maximum number of streams of one process; further ones are answered 503. Keep it "
        "below CALLFOLD_API_CONNECTIONS, so that other requests find a connection.",
    )
    api_streams_per_key: int = Field(
        20,
        ge=1,
        description="The maximum number of streams of one key or user in one process; further ones are "
        "answered 429.",
    )
    api_stream_heartbeat_seconds: float = Field(
        15,
        gt=0,
        description="Seconds without an event after which a stream sends its position. Keep it below the "
        "idle timeout of the load balancer.",
    )
    api_stream_check_seconds: float = Field(
        5,
        gt=0,
        description="Seconds between two checks of the credentials of open streams. A stream whose key was "
        "revoked ends at the next check.",
    )
    api_stream_queue_records: int = Field(
        1000,
        ge=1,
        description="The maximum number of changes that wait for a slow client. Beyond it, the stream ends.",
    )
    api_stream_queue_mib: float = Field(
        1,
        gt=0,
        description="The maximum memory in MiB of the changes that wait for a slow client. A single change "
        "may be larger.",
    )
    api_stream_tail_records: int = Field(
        10_000,
        ge=0,
        description="The number of recent changes that one process keeps in memory for streams that resume.",
    )
    api_stream_tail_mib: float = Field(
        16, ge=0, description="The maximum memory in MiB of the recent changes that one process keeps."
    )
    api_stream_resume_hours: float = Field(
        12,
        gt=0,
        description="Hours for which a stream can resume; later it begins with a reset. Keep it well below "
        "the topic's delete.retention.ms (24 hours), because Kafka removes deletions after that.",
    )
    api_stream_resume_records: int = Field(
        200_000,
        ge=0,
        description="The maximum number of records of the topic that a stream reads to resume. Beyond it, "
        "the stream begins with a reset.",
    )
    api_stream_resume_seconds: float = Field(
        60,
        gt=0,
        description="Seconds that a stream may read the topic to resume. Then it ends, and the client "
        "continues from there.",
    )
    api_stream_resume_readers: int = Field(
        4,
        ge=1,
        description="The maximum number of streams of one process that read the topic to resume at once. "
        "Others wait.",
    )
