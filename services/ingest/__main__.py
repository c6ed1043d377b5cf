"""`python -m services.ingest`: one ingest process, until a signal or a fault that does not pass."""

import gc

import uvloop

from services.ingest.app import Ingest
from shared import logs
from shared.settings import IngestSettings


async def main() -> None:
    await Ingest(IngestSettings()).run()


if __name__ == "__main__":
    logs.configure()
    # Batches are made of many small objects without cycles: at its default threshold the collector would
    # look for cycles in them over and over.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(main())
