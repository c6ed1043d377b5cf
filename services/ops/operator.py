"""Who operates: for the audit log."""

import getpass
import socket


def operator() -> str:
    """The user of this machine who runs the command, as `operator anna@db-1`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        name = "unknown"
    return f"operator {name}@{socket.gethostname()}"
