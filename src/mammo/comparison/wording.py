"""Write values for people: intervals, p values, counts and tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Protocol

NOTHING = "–"
_MOST_PATIENTS = 100_000  # from here on an estimate says no more than that the difference is nil


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def patients(needed: int) -> str:
    """Write how many patients would show a difference."""
    return f"{needed:,}" if needed < _MOST_PATIENTS else f"{_MOST_PATIENTS:,} or more"


class WithInterval(Protocol):
    """A value that may have an interval."""

    @property
    def value(self) -> float:
        """Of the sample."""

    @property
    def low(self) -> float | None:
        """Lower end; None where there is no interval."""

    @property
    def high(self) -> float | None:
        """Upper end, likewise."""


def interval(found: WithInterval | None, sign: str = "") -> str:
    """Write a value with its interval; two decimals are all that such a sample supports."""
    if found is None:
        return NOTHING
    value = number(found.value, sign)
    if found.low is None or found.high is None:
        return f"{value} (no interval)"
    return f"{value} [{number(found.low, sign)}, {number(found.high, sign)}]"


def value(found: WithInterval | None) -> str:
    """Write a value alone."""
    return NOTHING if found is None else number(found.value)


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


def share_of(found: float, ceiling: WithInterval) -> str:
    """Write a value in per cent of the highest that can be reached."""
    return percent(found / ceiling.value) if ceiling.value > 0 else NOTHING


def listed(names: Sequence[str]) -> str:
    """List names as code, or say that there are none."""
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def count(n: int, noun: str) -> str:
    """Write a number and its noun: `1 patient`, `1,200 patients`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def thin_classes(thin: Mapping[str, int]) -> str:
    """Say which classes have too few patients for an interval of what rests on them, if any."""
    if not thin:
        return ""
    named = ", ".join(f"{label} ({count(n, 'patient')})" for label, n in thin.items())
    return (
        f" Too few patients are of class {named}: recalls of it, and what averages over the "
        "classes, stand without interval and p value."
    )


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
