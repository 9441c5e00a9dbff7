"""Read label tables as their publishers wrote them: every cell as text, every fault named."""

import csv
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import python_calamine

from mammo.datasets.folders import listing
from mammo.errors import UserError

SEPARATORS = (",", ";", "\t")
# Zero-width spaces and marks of direction, which copying from pages and file managers leaves.
_UNSEEN = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
_ZIP = b"PK\3\4"  # a workbook is a ZIP archive
SHEETS = (".xlsx", ".xlsm", ".xls", ".ods")

# A label table of a million images is far below; a small file that inflates further is an attack.
MAX_BYTES = 512 * 2**20
MAX_ROWS = 5_000_000


def read_label_table(
    path: Path, columns: Sequence[str], keys: Mapping[str, str] = {}, *, rowless: bool = False
) -> list[dict[str, str]]:
    """Read `columns` of a delimited table with a header line: one dictionary of text a row.

    Cells are stripped, short rows are filled with '', blank rows are left out. A byte order mark,
    CRLF, quoted line breaks, leading zeros and `;` or tabs as separators need no declaration: the
    separator is the one that finds most of `columns` in the header line.

    Args:
        path: The table.
        columns: Those to read.
        keys: The key of params.yaml that names a column, by column, where one does.
        rowless: The header line alone will do, too.

    Raises:
        UserError: The file is missing, isn't such a table, lacks a column or holds no row.
    """
    require_file(path)
    if path.suffix.lower() in SHEETS:
        return read_sheet(path, None, columns, keys)
    rows = _rows(path, columns)
    header = next(rows, None)
    if header is None:
        raise UserError(f"{path}: the file is empty; it needs a header line and rows")
    require_columns(path, header, columns, keys)
    at = {column: header.index(column) for column in columns}
    table: list[dict[str, str]] = []
    for number, row in enumerate(rows, start=2):
        if any(row[len(header) :]):
            raise UserError(
                f"{path}: row {number} must have {len(header)} cells as the header line, got "
                f"{len(row)}; put cells that hold the separator in quotes"
            )
        if len(table) >= MAX_ROWS:
            raise UserError(f"{path}: must hold at most {MAX_ROWS} rows")
        table.append({name: row[i] if i < len(row) else "" for name, i in at.items()})
    if not table and not rowless:
        raise UserError(f"{path}: holds no row below its header line; is it the right file?")
    return table


def columns_there(path: Path, columns: Sequence[str]) -> list[str]:
    """Tell which of some columns a delimited table has.

    Raises:
        UserError: The file isn't such a table.
    """
    header = next(_rows(path, columns), [])
    return [column for column in columns if column in header]


def require_file(path: Path) -> None:
    """Refuse a table that isn't there.

    Raises:
        UserError: Names what lies beside it.
    """
    if path.is_dir():
        raise UserError(f"{path}: dataset.table must be a file, got a folder; {listing(path)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file (dataset.table); {listing(path.parent)}")


def require_columns(
    path: Path, header: Sequence[str], columns: Sequence[str], keys: Mapping[str, str]
) -> None:
    """Refuse a table that lacks a column, or has it twice.

    Raises:
        UserError: Names the missing columns, the keys that ask for them, and those that are there.
    """
    missing = [column for column in columns if column not in header]
    if missing:
        asking = ", ".join(dict.fromkeys(keys[name] for name in missing if name in keys))
        remedy = f"set {asking} in params.yaml" if asking else "is it dataset.name's own table?"
        raise UserError(
            f"{path}: must have {_quoted(missing)}, got the columns {_quoted(header)}; {remedy}"
        )
    double = [column for column in columns if header.count(column) > 1]
    if double:
        raise UserError(f"{path}: has {_quoted(double)} more than once; rename or remove one")


def read_sheet(
    path: Path, sheet: str | None, columns: Sequence[str], keys: Mapping[str, str] = {}
) -> list[dict[str, str]]:
    """Read `columns` below the first row of a workbook's sheet: one dictionary of text a row.

    Text stays as it is, leading zeros too; a whole number has no decimal point.

    Args:
        path: An Excel or OpenDocument workbook.
        sheet: Its name; None for the first.
        columns: Names in the first row.
        keys: As of `read_label_table`.

    Raises:
        UserError: The file isn't a workbook, inflates beyond the bound, or lacks the sheet, a
            column or rows.
    """
    require_file(path)
    _require_bounded(path)
    try:
        names = python_calamine.load_workbook(path).sheet_names
        if sheet is not None and sheet not in names:
            raise UserError(f"{path}: must have a sheet {sheet!r}, got {sorted(names)}")
        cells = pd.read_excel(
            path, sheet_name=sheet or 0, header=None, dtype=str, na_filter=False, engine="calamine"
        )
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise UserError(f"{path}: must be an Excel workbook (.xlsx): {error}") from None
    rows = [[_stripped(str(cell)) for cell in row] for row in cells.itertuples(index=False)]
    filled = [row for row in rows if any(row)]
    if len(filled) < 2:
        raise UserError(f"{path}: sheet {sheet or names[0]!r} holds no row below its header line")
    header = filled[0]
    require_columns(path, header, columns, keys)
    return [{name: row[header.index(name)] for name in columns} for row in filled[1:]]


def _require_bounded(path: Path) -> None:
    """Inflate a zipped workbook piece by piece and throw it away, up to a bound.

    Raises:
        UserError: It is larger, or damaged.
    """
    if not zipfile.is_zipfile(path):
        return  # an .xls isn't compressed
    total = 0
    try:
        with zipfile.ZipFile(path) as workbook:
            for name in workbook.namelist():
                with workbook.open(name) as member:
                    while part := member.read(2**20):
                        total += len(part)
                        if total > MAX_BYTES:
                            raise UserError(f"{path}: inflates beyond {MAX_BYTES} bytes")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: must be an Excel workbook (.xlsx): {error}") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield the rows that aren't blank, the header first, cells stripped.

    The separator is the one that finds most of the columns in the header, and of equals the most
    frequent: a name may hold commas in a table that separates by something else.
    """
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes, must be at most {MAX_BYTES}")
    with path.open("rb") as file:
        if file.read(4) == _ZIP:
            raise UserError(
                f"{path}: is an Excel workbook by its first bytes; end its name "
                "in .xlsx, in params.yaml too"
            )
    csv.field_size_limit(MAX_BYTES)  # a report in a cell has no size of its own to keep to
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            header = next((line for line in lines if line.strip()), "")
            lines.seek(0)
            separator = max(
                SEPARATORS, key=lambda one: (_named(header, one, columns), header.count(one))
            )
            rows = csv.reader(lines, delimiter=separator, strict=True)
            try:
                for row in rows:
                    cells = [_stripped(cell) for cell in row]
                    if any(cells):
                        yield cells
            except csv.Error as error:
                raise UserError(
                    f"{path}: not a well-formed table: line {rows.line_num}: {error}"
                ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must be UTF-8 text: {error}; save it as CSV UTF-8") from None


def _stripped(cell: str) -> str:
    """Strip blanks, and what nobody sees at a cell's ends: as part of a name it makes another."""
    cell = cell.strip()
    return cell if cell.isascii() else cell.strip(_UNSEEN).strip()


def _named(header: str, separator: str, columns: Sequence[str]) -> int:
    """Count the columns that a header line names under a separator."""
    names = {_stripped(name).strip('"') for name in header.split(separator)}
    return sum(column in names for column in columns)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
