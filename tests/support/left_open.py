"""Forgets connections that a library left open in a closed event loop, because opening them was cancelled."""

import gc
import warnings


def forget_what_is_left_open() -> None:
    """Call this after a separate event loop has ended. A command's process ends with its loop, and the kernel
    closes its connections. The test process continues, so a later test would get the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
