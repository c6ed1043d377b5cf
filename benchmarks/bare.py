"""A FastAPI route that returns a constant, on uvicorn with the API's settings and without its limits. It is
the upper bound for a route that reads a database.

    .venv/bin/python -m benchmarks.bare PORT
"""

import sys

import uvicorn
import uvloop
from fastapi import FastAPI, Response

PATH = "/constant"

app = FastAPI()


@app.get(PATH)
async def constant() -> Response:
    """Prepared bytes: no encoding per request."""
    return Response(b'{"status":"live"}', media_type="application/json")


if __name__ == "__main__":
    config = uvicorn.Config(
        app,
        port=int(sys.argv[1]),
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        reset_contextvars=True,
    )
    uvloop.run(uvicorn.Server(config).serve())
