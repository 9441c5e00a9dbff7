"""Keep a spreadsheet from running cells that come from outside, by a rule that can be undone.

A cell that begins with =, +, -, @, a tab or a carriage return is a formula to a spreadsheet. Such
a cell, and one that begins with an apostrophe, gets one apostrophe in front, which a spreadsheet
takes for "this is text"; to undo it, take one apostrophe away where a cell begins with one.
"""

import pandas as pd

_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


def neutralised(table: pd.DataFrame) -> pd.DataFrame:
    """Guard the text of a table that people open."""
    return table.map(_guarded)


def restored(table: pd.DataFrame) -> pd.DataFrame:
    """Undo `neutralised`."""
    return table.map(lambda cell: cell[1:] if _is_text(cell, "'") else cell)


def _guarded(cell: object) -> object:
    return f"'{cell}" if _is_text(cell, _STARTS) else cell


def _is_text(cell: object, starts: str | tuple[str, ...]) -> bool:
    return isinstance(cell, str) and cell.startswith(starts)
