"""Parts of a page in Markdown."""

from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table. Line breaks and bars in a cell are replaced, because they would end it."""
    lines = [" | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(
        [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {line} |" for line in lines)]
    )


def sentence(text: str) -> str:
    """The text with a capital letter at its begin and a full stop at its end."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def page(*parts: str) -> str:
    """The parts as paragraphs of one page."""
    return "\n".join(part.strip("\n") + "\n" for part in parts)
