"""Write values for people: intervals, p values, counts and tables in Markdown."""

from collections.abc import Sequence
from typing import Any

NOTHING = "–"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(entry: dict[str, Any] | None, sign: str = "") -> str:
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
    """Write a p value with three decimals; None is one that couldn't be computed."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float) -> str:
    """Write a share in per cent, three significant digits."""
    return f"{100 * share:.3g} %"


def listed(names: Sequence[str]) -> str:
    """List names as code, or say that there are none."""
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def count(n: int, noun: str) -> str:
    """Write a number and its noun: `1 patient`, `1,200 patients`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def epoch_ranges(epochs: Sequence[int]) -> str:
    """Write epochs as ranges: [1, 2, 3, 6] becomes `epochs 1–3, 6`."""
    ranges: list[list[int]] = []
    for epoch in epochs:
        if ranges and epoch == ranges[-1][-1] + 1:
            ranges[-1][-1:] = [epoch] if len(ranges[-1]) > 1 else [ranges[-1][0], epoch]
        else:
            ranges.append([epoch])
    text = ", ".join("–".join(map(str, ends)) for ends in ranges)
    return f"epoch{'s' if len(epochs) > 1 else ''} {text}"
