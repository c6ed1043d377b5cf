"""SQLAlchemy's engine: for migrations, which alone speak to the database through it."""

from urllib.parse import urlsplit, urlunsplit

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def engine(database_url: str, *, application_name: str, **options: object) -> AsyncEngine:
    """SQLAlchemy's engine over asyncpg for the same URL; `options` are those of `create_async_engine`."""
    address = urlsplit(database_url)
    return create_async_engine(
        urlunsplit(address._replace(scheme="postgresql+asyncpg")),
        connect_args={"server_settings": {"application_name": application_name, "timezone": "UTC"}},
        **options,
    )
