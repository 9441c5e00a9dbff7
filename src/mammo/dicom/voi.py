"""Stored values -> display values: modality LUT, VOI LUT or window, inversion (PS3.3 C.11).

Every step works on a value alone, so all of them fold into one table over the stored values.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mammo.errors import FileFault

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class LookupTable:
    """A modality or VOI LUT (C.11.1.1, C.11.2.1.1).

    Attributes:
        first: The input value that maps to the first entry.
        entries: (n,) integers; inputs beyond either end take the entry at that end.
        bits: Bits an entry.
    """

    first: int
    entries: np.ndarray
    bits: int

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Look up values; fractions, which a rescale can make, are rounded."""
        position = np.rint(values - self.first).clip(0, len(self.entries) - 1)
        return self.entries[position.astype(np.int64)].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """A window, in units after the modality LUT (C.11.2.1.2)."""

    center: float
    width: float

    def apply(self, values: np.ndarray, function: str) -> np.ndarray:
        """Map values to [0, 1].

        Raises:
            FileFault: The width is out of range, or the function isn't one of the standard's.
        """
        c, w = self.center, self.width
        if not np.isfinite(c) or not np.isfinite(w) or w < (1 if function == "LINEAR" else 1e-9):
            raise FileFault("window_invalid", f"window center {c}, width {w} for {function}")
        if function == "LINEAR":  # C.11.2.1.2.1; a width of 1 is a step
            ramp = (values - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else np.zeros_like(values)
            low, high = c - 0.5 - (w - 1) / 2, c - 0.5 + (w - 1) / 2
        elif function == "LINEAR_EXACT":  # C.11.2.1.3.2
            ramp = (values - c) / w + 0.5
            low, high = c - w / 2, c + w / 2
        elif function == "SIGMOID":  # C.11.2.1.3.1
            return 1 / (1 + np.exp(np.clip(-4 * (values - c) / w, -700, 700)))
        else:
            raise FileFault("window_invalid", f"(0028,1056) VOILUTFunction is {function!r}")
        return np.where(values <= low, 0.0, np.where(values > high, 1.0, ramp))


@dataclass(frozen=True)
class GreyScale:
    """How a file wants its stored values shown.

    Attributes:
        lowest, highest: Bounds of the stored values, from BitsStored and PixelRepresentation.
        inverted: MONOCHROME1: the lowest value is shown white.
        padding: Inclusive range of stored values that are no part of the image (C.7.5.1.1.2).
    """

    lowest: int
    highest: int
    inverted: bool
    slope: float
    intercept: float
    modality_lut: LookupTable | None
    voi_luts: tuple[LookupTable, ...]
    windows: tuple[Window, ...]
    function: str
    padding: tuple[int, int] | None

    def stored(self) -> np.ndarray:
        """List every stored value: (highest - lowest + 1,) float64."""
        return np.arange(self.lowest, self.highest + 1, dtype=np.float64)

    def modality(self) -> np.ndarray:
        """Map every stored value by the modality LUT, or by slope and intercept (C.11.1)."""
        if self.modality_lut is not None:
            return self.modality_lut.apply(self.stored())
        return self.stored() * self.slope + self.intercept

    def is_padding(self) -> np.ndarray:
        """Mark the stored values that pad the image: (highest - lowest + 1,) bool."""
        if self.padding is None:
            return np.zeros(self.highest - self.lowest + 1, dtype=bool)
        stored = self.stored()
        return (stored >= self.padding[0]) & (stored <= self.padding[1])


def brightness(grey: GreyScale) -> np.ndarray:
    """Order the stored values from black to white before any VOI: float32 in [0, 1].

    Padding is black. Breast and background are told apart on this scale.
    """
    values = grey.modality()
    low, high = values.min(), values.max()
    return _finish((values - low) / max(high - low, 1e-12), grey)


def display(
    grey: GreyScale, choice: str, index: int, percentiles: tuple[float, float] | None
) -> np.ndarray:
    """Map every stored value to its display value: float32 in [0, 1], padding black.

    Args:
        grey: The file's grey scale.
        choice: `auto` takes what the file has, LUT before window before percentiles.
        index: Which of several LUTs or windows.
        percentiles: Bounds after the modality LUT, for `percentiles`.

    Raises:
        FileFault: The file lacks what `choice` asks for.
    """
    values = grey.modality()
    kind = resolve(grey, choice)
    if kind == "lut":
        lut = _pick(grey.voi_luts, index, "VOI LUTs")
        shown = lut.apply(values) / (2**lut.bits - 1)
    elif kind == "window":
        shown = _pick(grey.windows, index, "windows").apply(values, grey.function)
    elif kind == "percentiles":
        if percentiles is None:
            raise ValueError("percentiles need their bounds")
        low, high = percentiles
        shown = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    else:
        low, high = values.min(), values.max()
        shown = (values - low) / max(high - low, 1e-12)
    return _finish(shown, grey)


def resolve(grey: GreyScale, choice: str) -> str:
    """Say which of lut, window, percentiles, none applies to a file."""
    if choice != "auto":
        return choice
    if grey.voi_luts:
        return "lut"
    return "window" if grey.windows else "percentiles"


def _pick(several: tuple[Choice, ...], index: int, name: str) -> Choice:
    if index >= len(several):
        raise FileFault("voi_absent", f"the file has {len(several)} {name}, number {index} asked")
    return several[index]


def _finish(shown: np.ndarray, grey: GreyScale) -> np.ndarray:
    """Invert MONOCHROME1, then blacken padding."""
    if grey.inverted:
        shown = 1 - shown
    return np.where(grey.is_padding(), 0.0, shown).astype(np.float32)
