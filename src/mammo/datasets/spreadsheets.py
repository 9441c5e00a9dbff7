"""Read one sheet of an Excel workbook as text (ECMA-376: zipped XML)."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from mammo.datasets.label_tables import require_columns, require_file
from mammo.errors import UserError

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_sheet(path: Path, sheet: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read `columns` below the first row of a sheet: one dictionary of stripped text a row.

    Raises:
        UserError: The file isn't a workbook, or lacks the sheet, a column or rows.
    """
    require_file(path)
    try:
        with zipfile.ZipFile(path) as workbook:
            rows = list(_rows(workbook, _sheet_member(path, workbook, sheet)))
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError) as error:
        raise UserError(f"{path}: must be an Excel workbook (.xlsx): {error}") from None
    filled = [row for row in rows if any(row.values())]
    if len(filled) < 2:
        raise UserError(f"{path}: sheet {sheet!r} holds no row below its header line")
    header = {name: column for column, name in filled[0].items()}
    require_columns(path, list(filled[0].values()), columns)
    return [{name: row.get(header[name], "") for name in columns} for row in filled[1:]]


def _sheet_member(path: Path, workbook: zipfile.ZipFile, name: str) -> str:
    """Find the file of a sheet: name -> relation id -> path within the archive."""
    sheets = {
        sheet.get("name"): sheet.get(_RELATION)
        for sheet in ElementTree.fromstring(workbook.read("xl/workbook.xml")).iter(f"{_MAIN}sheet")
    }
    if name not in sheets:
        raise UserError(f"{path}: must have a sheet {name!r}, got {sorted(map(str, sheets))}")
    relations = ElementTree.fromstring(workbook.read("xl/_rels/workbook.xml.rels"))
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    target = targets[sheets[name]]
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def _rows(workbook: zipfile.ZipFile, member: str) -> Iterator[dict[str, str]]:
    """Yield each row as column letters -> text."""
    shared = []
    if "xl/sharedStrings.xml" in workbook.namelist():
        strings = ElementTree.fromstring(workbook.read("xl/sharedStrings.xml"))
        shared = [_text(item) for item in strings.iter(f"{_MAIN}si")]
    for row in ElementTree.fromstring(workbook.read(member)).iter(f"{_MAIN}row"):
        yield {
            re.sub(r"\d", "", cell.get("r", "")): _cell(cell, shared)
            for cell in row.iter(f"{_MAIN}c")
        }


def _cell(cell: ElementTree.Element, shared: Sequence[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell)
    value = cell.findtext(f"{_MAIN}v", "")
    return shared[int(value)] if cell.get("t") == "s" else value.strip()


def _text(element: ElementTree.Element) -> str:
    # Rich text comes in several runs.
    return "".join(run.text or "" for run in element.iter(f"{_MAIN}t")).strip()
