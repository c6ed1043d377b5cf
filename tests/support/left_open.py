"""What a loop that is over left open: a library's connection whose opening was given up."""

import gc
import warnings


def forget_what_is_left_open() -> None:
    """To be called where a loop of its own has ended. A command's process would end with its loop, and the
    kernel would close what is left; in the tests the process goes on, and some later test would be told of
    it as of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
