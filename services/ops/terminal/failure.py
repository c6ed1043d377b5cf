"""What an operator can be told in one sentence."""


class Failure(Exception):
    """A fault whose cause lies outside the program; its text is a sentence for the operator."""
