"""How the pages for people write numbers, intervals, lists and tables."""

from collections.abc import Sequence
from typing import Any

NOTHING = "–"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(entry: dict[str, Any] | None, sign: str = "") -> str:
    """Write a value with its interval; two decimals are all that such a sample supports."""
    if entry is None:
        return NOTHING
    value = number(entry["value"], sign)
    if entry["low"] is None:
        return f"{value} (no interval)"
    return f"{value} [{number(entry['low'], sign)}, {number(entry['high'], sign)}]"


def number(value: float, sign: str = "") -> str:
    """Write two decimals with a true minus sign, and never a negative zero."""
    return f"{value:{sign}z.2f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """Write a p value."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float) -> str:
    """Write a share in percent, 3 significant digits."""
    return f"{100 * share:.3g} %"


def names(names: Sequence[str]) -> str:
    """List names as code; "none" where there is none."""
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def count(n: int, noun: str) -> str:
    """Write a number with its noun, in the plural but for 1."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
