"""Stored values -> display values: modality LUT, VOI LUT or window, inversion (PS3.3 C.11).

Every step works on a value alone, so all of them fold into one table over the stored values. What
a file offers is parsed when it is chosen: a broken window doesn't veto a sound LUT.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mammo.errors import FileFault

# A table whose entries end so many bits below its descriptor was meant for fewer (see `maximum`).
_DEPTHS = (8, 10, 12, 14)


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
        found: np.ndarray = self.entries[position.astype(np.int64)].astype(np.float64)
        return found

    @property
    def maximum(self) -> int:
        """White: what the descriptor says, or the depth that the entries really use.

        Descriptors of 16 bits over entries of 12 are common; by the letter (C.11.2.1.1) such an
        image is nearly black.
        """
        white: int = 2 ** used_bits(int(self.entries.max(initial=0)), self.bits) - 1
        return white


def used_bits(highest: int, bits: int) -> int:
    """Say the depth that values up to `highest` really use, where it is plainly below `bits`."""
    return next((depth for depth in _DEPTHS if depth < bits and highest < 2**depth), bits)


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
        voi_luts, windows: In the file's order; a broken one is the fault that choosing it raises.
        padding: Inclusive range of stored values that are no part of the image (C.7.5.1.1.2).
        own: The kind that shows the values as they are meant where the file offers nothing:
            `percentiles` for DICOM, `none` for pictures.
        flags: What was read though it contradicts itself.
    """

    lowest: int
    highest: int
    inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    voi_luts: tuple[LookupTable | FileFault, ...] = ()
    windows: tuple[Window | FileFault, ...] = ()
    function: str = "LINEAR"
    padding: tuple[int, int] | None = None
    own: str = "percentiles"
    flags: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Choice:
    """One of the ways to show a file: `lut` or `window` by number, `percentiles`, `none`."""

    kind: str
    number: int = 0


def choices(grey: GreyScale, voi: str, index: int) -> Iterator[Choice]:
    """List the ways to try, in order; an explicit `voi` allows one alone.

    Args:
        grey: The file's grey scale.
        voi: `auto` takes what the file has: LUTs before windows before its own kind, and
            percentiles last; of several the one asked for first.
        index: Which of several LUTs or windows, from 0.
    """
    if voi != "auto":
        yield Choice(voi, index)
        return
    for kind, several in (("lut", grey.voi_luts), ("window", grey.windows)):
        numbers = sorted(range(len(several)), key=lambda number: (number != index, number))
        # The number asked for counts for the kind that the file has first.
        yield from (Choice(kind, number) for number in numbers)
    if grey.own != "percentiles":
        yield Choice(grey.own)
    yield Choice("percentiles")


def display(
    grey: GreyScale, choice: Choice, percentiles: tuple[float, float] | None = None
) -> np.ndarray:
    """Map every stored value to its display value: float32 in [0, 1], padding black.

    Args:
        grey: The file's grey scale.
        choice: The way to show it.
        percentiles: Bounds after the modality LUT, for `percentiles`.

    Raises:
        FileFault: The file lacks what `choice` asks for, or it is broken.
    """
    values = grey.modality()
    if choice.kind == "lut":
        lut = pick(grey.voi_luts, choice.number, "VOI LUTs")
        shown = (lut.apply(values) / lut.maximum).clip(0, 1)
    elif choice.kind == "window":
        shown = pick(grey.windows, choice.number, "windows").apply(values, grey.function)
    elif choice.kind == "percentiles":
        if percentiles is None:
            raise ValueError("percentiles need their bounds")
        low, high = percentiles
        shown = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    else:
        low, high = values.min(), values.max()
        shown = (values - low) / max(high - low, 1e-12)
    return _finish(shown, grey)


def is_shallow(grey: GreyScale, choice: Choice) -> bool:
    """Tell whether a LUT's entries use less depth than its descriptor says."""
    if choice.kind != "lut":
        return False
    lut = pick(grey.voi_luts, choice.number, "VOI LUTs")
    return bool(lut.maximum < 2**lut.bits - 1)


T = TypeVar("T")


def pick(several: tuple[T | FileFault, ...], number: int, name: str) -> T:
    """Take one of several, numbered from 0.

    Raises:
        FileFault: There are fewer, or this one is broken.
    """
    if number >= len(several):
        raise FileFault("voi_absent", f"the file has {len(several)} {name}, number {number} asked")
    picked = several[number]
    if isinstance(picked, FileFault):
        raise picked
    return picked


def _finish(shown: np.ndarray, grey: GreyScale) -> np.ndarray:
    """Invert MONOCHROME1, then blacken padding."""
    if grey.inverted:
        shown = 1 - shown
    return np.where(grey.is_padding(), 0.0, shown).astype(np.float32)
