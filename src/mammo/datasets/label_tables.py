"""Read label tables as their publishers wrote them: every cell as text, every fault named."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mammo.datasets.folders import listing
from mammo.errors import UserError

SEPARATORS = (",", ";", "\t")


def read_label_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read `columns` of a delimited table with a header line: one dictionary of text a row.

    Cells are stripped, short rows are filled with '', blank rows are left out. A byte order mark,
    CRLF, quoted line breaks, leading zeros and `;` or tabs as separators need no declaration: the
    separator is the one that the header line holds most often.

    Raises:
        UserError: The file is missing, isn't such a table, lacks a column or holds no row.
    """
    require_file(path)
    rows = _rows(path)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{path}: the file is empty; it needs a header line and rows")
    require_columns(path, header, columns)
    at = {column: header.index(column) for column in columns}
    table = []
    for number, row in enumerate(rows, start=2):
        if any(row[len(header) :]):
            raise UserError(
                f"{path}: row {number} must have {len(header)} cells as the header line, got "
                f"{len(row)}; put cells that hold the separator in quotes"
            )
        table.append({name: row[i] if i < len(row) else "" for name, i in at.items()})
    if not table:
        raise UserError(f"{path}: holds no row below its header line; is it the right file?")
    return table


def require_file(path: Path) -> None:
    """Refuse a table that isn't there.

    Raises:
        UserError: Names what lies beside it.
    """
    if path.is_dir():
        raise UserError(f"{path}: dataset.table must be a file, got a folder; {listing(path)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file (dataset.table); {listing(path.parent)}")


def require_columns(path: Path, header: Sequence[str], columns: Iterable[str]) -> None:
    """Refuse a table that lacks a column, or has it twice.

    Raises:
        UserError: Names the missing columns and those that are there.
    """
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(f"{path}: must have {_quoted(missing)}, got the columns {_quoted(header)}")
    double = [column for column in columns if header.count(column) > 1]
    if double:
        raise UserError(f"{path}: has {_quoted(double)} more than once; rename or remove one")


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows that aren't blank, the header first, cells stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header_line = lines.readline()
            lines.seek(0)
            separator = max(SEPARATORS, key=header_line.count)
            for row in csv.reader(lines, delimiter=separator, strict=True):
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield cells
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text: {error}; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a well-formed table: {error}") from None


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
