"""Phone numbers as an operator gives them: as arguments, or in a CSV file."""

import csv
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from services.ops.terminal.failure import Failure
from shared.calls.event import NUMBER_LENGTH_MAX

_E164: Final = re.compile(r"\+[1-9][0-9]{1,14}")
_ADDRESS: Final = re.compile(r"[\w.!~*'()&=$;?/%:@#-][\w.!~*'()&=+$;?/%:@#-]*")
"""The parties that dialects give: an extension, a SIP user, or an address such as `client:anna`."""
_NUMBER_COLUMNS: Final = ("number", "phone_number")
_ID_COLUMNS: Final = ("id", "phone_number_id")


class GivenNumber(NamedTuple):
    """A number, its id if one is given, and where it stands in a file: the begin of a sentence."""

    number: str
    id: str | None = None
    place: str = ""


def is_number(text: str) -> bool:
    """Whether a call can have this number: E.164 with a plus sign, or the other texts without spaces that
    dialects give."""
    if len(text) > NUMBER_LENGTH_MAX:
        return False
    return (_E164 if text.startswith("+") else _ADDRESS).fullmatch(text) is not None


def read_numbers(file: str) -> list[GivenNumber]:
    """The numbers in a CSV file. Blank lines are skipped. Raises Failure."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Failure(f"Cannot read {file}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Failure(f"{file} is not UTF-8.") from None
    number_at, id_at = 0, 1
    found: list[GivenNumber] = []
    reader = csv.reader(text.splitlines())
    is_first = True
    for row in reader:
        cells = [cell.strip() for cell in row]
        if cells in ([], [""]):
            continue
        names = [cell.lower() for cell in cells]
        if is_first and (named := _column(names, _NUMBER_COLUMNS)) is not None:
            id_column = _column(names, _ID_COLUMNS)
            number_at, id_at = named, len(names) if id_column is None else id_column
        else:
            found.append(
                GivenNumber(
                    cells[number_at] if number_at < len(cells) else "",
                    cells[id_at] or None if id_at < len(cells) else None,
                    f"{file}, line {reader.line_num}: ",
                )
            )
        is_first = False
    return found


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((place for place, name in enumerate(names) if name in wanted), None)
