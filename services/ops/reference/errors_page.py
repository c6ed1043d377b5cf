"""docs/reference/errors.md: the codes of the API's errors."""


def page_of_errors() -> str:
    """The page, in Markdown."""
    return ""
