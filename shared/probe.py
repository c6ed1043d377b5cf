"""`python -m shared.probe`: asks the process of this container whether it is ready; exit status 0 when it is.

It runs every few seconds, so it imports next to nothing, and reads the two settings that it needs by itself.
"""

import http.client
import os
import sys
from typing import Final

TIMEOUT_SECONDS: Final = 4
"""Less than a container engine gives it (Dockerfile): what it finds is said before it is ended."""

_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (for a host that is all)


def main() -> int:
    """Says in a sentence how the process is; the exit status."""
    host = os.environ.get("CALLFOLD_MONITOR_HOST", "127.0.0.1")
    port = os.environ.get("CALLFOLD_MONITOR_PORT", "")
    if not port.isdecimal():
        print("Not ready: CALLFOLD_MONITOR_PORT names no port to ask.", file=sys.stderr)
        return 1
    monitor = http.client.HTTPConnection(_LOOPBACK.get(host, host), int(port), timeout=TIMEOUT_SECONDS)
    try:
        monitor.request("GET", "/health/ready")
        answer = monitor.getresponse()
        said = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        print(f"Not ready: port {port} does not answer ({error or type(error).__name__}).", file=sys.stderr)
        return 1
    finally:
        monitor.close()
    if answer.status != http.client.OK:
        print(f"Not ready: {said}", file=sys.stderr)
        return 1
    print("Ready.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
