"""The error that a command reports to the operator in one sentence."""


class Failure(Exception):
    """A fault with a cause outside the program. Its text is a sentence for the operator."""
