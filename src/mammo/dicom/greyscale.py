"""Stored values -> display values: modality LUT, VOI LUT or window, inversion (PS3.3 C.11).

Every step works on a value alone, so all of them fold into one table over the stored values. What
a file offers is parsed when it is chosen: a broken window doesn't veto a sound LUT.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydicom.dataset import Dataset

from mammo.dicom.header import Layout
from mammo.dicom.parsing import convert, integer_of, text_of, values_of
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
        lut = _pick(grey.voi_luts, choice.number, "VOI LUTs")
        shown = (lut.apply(values) / lut.maximum).clip(0, 1)
    elif choice.kind == "window":
        shown = _pick(grey.windows, choice.number, "windows").apply(values, grey.function)
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
    lut = _pick(grey.voi_luts, choice.number, "VOI LUTs")
    return bool(lut.maximum < 2**lut.bits - 1)


T = TypeVar("T")


def _pick(several: tuple[T | FileFault, ...], number: int, name: str) -> T:
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


# ---- what a data set says


def grey_scale_of(dataset: Dataset, layout: Layout, little: bool) -> GreyScale:
    """Read the modality LUT, VOI and padding attributes (PS3.3 C.11.1, C.11.2, C.7.5.1).

    Args:
        dataset: The data set of one image.
        layout: Its bit layout, which bounds the stored values.
        little: Whether lookup tables stored as bytes are little-endian.

    Raises:
        FileFault: A slope of 0, or a modality LUT unlike its descriptor.
    """
    bits = layout.bits_stored
    lowest = -(2 ** (bits - 1)) if layout.signed else 0
    slope, intercept = _rescale(dataset)
    modality_luts = _lookup_tables(dataset, "ModalityLUTSequence", layout.signed, little)
    modality_lut = _pick(modality_luts, 0, "modality LUTs") if modality_luts else None
    # The VOI LUT's input is signed where the modality LUT's output can be (C.11.2.1.1).
    signed = not modality_luts and lowest * slope + intercept < 0
    padding, flags = _padding(dataset, layout)
    return GreyScale(
        lowest=lowest,
        highest=lowest + 2**bits - 1,
        inverted=text_of(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        voi_luts=_lookup_tables(dataset, "VOILUTSequence", signed, little),
        windows=_windows(dataset),
        function=text_of(dataset, "VOILUTFunction") or "LINEAR",
        padding=padding,
        flags=flags,
    )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = values_of(dataset, "RescaleSlope"), values_of(dataset, "RescaleIntercept")
    values = (float(slope[0]) if slope else 1.0, float(intercept[0]) if intercept else 0.0)
    if not np.isfinite(values).all() or values[0] == 0:
        raise FileFault("rescale_invalid", f"slope {values[0]}, intercept {values[1]}")
    return values


def _windows(dataset: Dataset) -> tuple[Window | FileFault, ...]:
    def pairs() -> tuple[Window | FileFault, ...]:
        centers, widths = values_of(dataset, "WindowCenter"), values_of(dataset, "WindowWidth")
        if len(centers) != len(widths):
            raise FileFault(
                "window_invalid", f"{len(centers)} window centers beside {len(widths)} widths"
            )
        return tuple(Window(float(c), float(w)) for c, w in zip(centers, widths, strict=True))

    try:
        return convert(pairs)
    except FileFault as fault:
        return (FileFault("window_invalid", fault.detail),)


def _lookup_tables(
    dataset: Dataset, keyword: str, signed: bool, little: bool
) -> tuple[LookupTable | FileFault, ...]:
    def table(item: Dataset) -> LookupTable | FileFault:
        try:
            return convert(lambda: _lookup_table(item, keyword, signed, little))
        except FileFault as fault:
            return FileFault("lut_contradictory", fault.detail)

    try:
        items = convert(lambda: list(dataset.get(keyword) or ()))
    except FileFault as fault:
        return (FileFault("lut_contradictory", fault.detail),)
    return tuple(map(table, items))


def _lookup_table(item: Dataset, keyword: str, signed: bool, little: bool) -> LookupTable:
    """Read LUTDescriptor (entries, first input, bits) and LUTData (C.11.1.1.1, C.11.2.1.1)."""
    count, first, bits = (int(value) for value in values_of(item, "LUTDescriptor")[:3])
    count = count % 2**16 or 2**16  # 65536 doesn't fit the field and is written as 0
    first = first % 2**16
    if signed and first >= 2**15:
        first -= 2**16
    data = item.get("LUTData")
    if isinstance(data, bytes):
        width = 1 if bits <= 8 and len(data) in (count, count + count % 2) else 2
        entries = np.frombuffer(data, f"{'<' if little else '>'}u{width}")[:count]
    else:
        entries = np.array(values_of(item, "LUTData"), dtype=np.int64)
    if len(entries) != count or not 1 <= bits <= 16 or entries.max() >= 2**bits:
        raise FileFault(
            "lut_contradictory",
            f"{keyword}: the descriptor says {count} entries of {bits} bits, "
            f"got {len(entries)} up to {entries.max(initial=0)}",
        )
    return LookupTable(first, entries, bits)


def _padding(dataset: Dataset, layout: Layout) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """Read PixelPaddingValue and its range limit (PS3.3 C.7.5.1.1.2); a broken one is flagged."""
    try:
        value = convert(lambda: integer_of(dataset, "PixelPaddingValue"))
        limit = convert(lambda: integer_of(dataset, "PixelPaddingRangeLimit"))
    except FileFault:
        return None, ("padding_unreadable",)
    if value is None:
        return None, ()
    limit = value if limit is None else limit
    if layout.signed:  # stored as unsigned, they mean the same bits
        value, limit = ((v + 2**15) % 2**16 - 2**15 if v >= 2**15 else v for v in (value, limit))
    return (min(value, limit), max(value, limit)), ()
