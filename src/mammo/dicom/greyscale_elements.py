"""What a data set says of its grey scale: modality LUT, VOI LUTs, windows, padding.

Each is parsed by itself, and a broken one stands in its place as the fault that it is, to be raised
where it is chosen.
"""

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from mammo.dicom.greyscale import GreyScale, LookupTable, Window, pick
from mammo.dicom.header import Layout
from mammo.dicom.parsing import convert, integer_of, text_of, values_of
from mammo.errors import FileFault


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
    modality_lut = pick(modality_luts, 0, "modality LUTs") if modality_luts else None
    # The VOI LUT's input is signed where the modality LUT's output can be (C.11.2.1.1).
    ends = (lowest * slope, (lowest + 2**bits - 1) * slope)
    signed = not modality_luts and min(ends) + intercept < 0
    padding, flags = _padding(dataset, layout)
    return GreyScale(
        lowest=lowest,
        highest=lowest + 2**bits - 1,
        inverted=text_of(dataset, "PhotometricInterpretation").upper() == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        voi_luts=_lookup_tables(dataset, "VOILUTSequence", signed, little),
        windows=_windows(dataset),
        function=text_of(dataset, "VOILUTFunction").upper() or "LINEAR",
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
        centers, widths = (
            _without_end_blanks(values_of(dataset, keyword))
            for keyword in ("WindowCenter", "WindowWidth")
        )
        if len(centers) != len(widths):
            raise FileFault(
                "window_invalid", f"{len(centers)} window centers beside {len(widths)} widths"
            )
        return tuple(map(_window, centers, widths))

    try:
        return convert(pairs)
    except FileFault as fault:
        return (FileFault("window_invalid", fault.detail),)


def _without_end_blanks(values: list[Any]) -> list[Any]:
    """Leave out the blanks that a backslash at the end makes."""
    while values and values[-1] in ("", None):
        values = values[:-1]
    return values


def _window(center: Any, width: Any) -> Window | FileFault:
    try:
        return Window(float(center), float(width))
    except (TypeError, ValueError):
        return FileFault("window_invalid", f"window center {center!r}, width {width!r}")


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
