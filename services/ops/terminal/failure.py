"""Expected faults of a command."""


class Failure(Exception):
    """A fault whose cause lies outside the program. Its text is a sentence for the operator."""
