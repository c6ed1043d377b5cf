"""Parts of a page in Markdown."""

import re
from collections.abc import Iterable


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table. Line breaks and bars in a cell are replaced, because they would end the cell."""
    lines = [" | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(
        [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {line} |" for line in lines)]
    )


def sentence(text: str) -> str:
    """The text with an initial capital letter, a final full stop, and variables as code."""
    return variables_as_code(text[:1].upper() + text[1:].rstrip(".") + ".")


def variables_as_code(text: str) -> str:
    """The text with the names of callfold's environment variables as code."""
    outside_and_code = text.split("`")
    outside_and_code[::2] = [
        re.sub(r"\bCALLFOLD_[A-Z_]*[A-Z]\b", r"`\g<0>`", part) for part in outside_and_code[::2]
    ]
    return "`".join(outside_and_code)


def page(*parts: str) -> str:
    """The parts as paragraphs of one page."""
    return "\n".join(part.strip("\n") + "\n" for part in parts)
