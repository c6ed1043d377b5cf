"""`python -m shared.probe`: checks whether the process of this container is ready; exit status 0 if it is.

It runs every few seconds, so it imports very little and reads the two settings that it needs by itself.
"""

import http.client
import os
import sys
from typing import Final

TIMEOUT_SECONDS: Final = 4
"""Less than the timeout of the container's health check (Dockerfile), so that the result is printed in
time."""

_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (for a host that is all)


def main() -> int:
    """Prints the state of the process in a sentence. Returns the exit status."""
    host = os.environ.get("CALLFOLD_MONITOR_HOST", "127.0.0.1")
    port = os.environ.get("CALLFOLD_MONITOR_PORT", "")
    if not port.isdecimal():
        print("Not ready: CALLFOLD_MONITOR_PORT is not set to a port.", file=sys.stderr)
        return 1
    monitor = http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=TIMEOUT_SECONDS)
    try:
        monitor.request("GET", "/health/ready")
        answer = monitor.getresponse()
        body = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        print(f"Not ready: port {port} does not answer ({error or type(error).__name__}).", file=sys.stderr)
        return 1
    finally:
        monitor.close()
    if answer.status != http.client.OK:
        print(f"Not ready: {body}", file=sys.stderr)
        return 1
    print("Ready.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
