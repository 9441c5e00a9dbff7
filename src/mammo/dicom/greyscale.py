"""Read the grey-scale attributes of a DICOM data set: rescale, lookup tables, windows, padding."""

import numpy as np
from pydicom.dataset import Dataset

from mammo.dicom.header import Layout
from mammo.dicom.parsing import integer_of, text_of, values_of
from mammo.dicom.voi import GreyScale, LookupTable, Window
from mammo.errors import FileFault


def grey_scale_of(dataset: Dataset, layout: Layout, little: bool) -> GreyScale:
    """Read the modality LUT, VOI and padding attributes (PS3.3 C.11.1, C.11.2, C.7.5.1).

    Args:
        dataset: The data set of one image.
        layout: Its bit layout, which bounds the stored values.
        little: Whether lookup tables stored as bytes are little-endian.

    Raises:
        FileFault: A slope of 0, centers without widths, or a table unlike its descriptor.
    """
    bits = layout.bits_stored
    lowest = -(2 ** (bits - 1)) if layout.signed else 0
    slope, intercept = _rescale(dataset)
    modality_luts = _lookup_tables(dataset, "ModalityLUTSequence", layout.signed, little)
    return GreyScale(
        lowest=lowest,
        highest=lowest + 2**bits - 1,
        inverted=text_of(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        slope=slope,
        intercept=intercept,
        modality_lut=modality_luts[0] if modality_luts else None,
        # The VOI LUT's input is signed where the modality LUT's output can be (C.11.2.1.1).
        voi_luts=_lookup_tables(
            dataset, "VOILUTSequence", not modality_luts and lowest * slope + intercept < 0, little
        ),
        windows=_windows(dataset),
        function=text_of(dataset, "VOILUTFunction") or "LINEAR",
        padding=_padding(dataset),
    )


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = values_of(dataset, "RescaleSlope"), values_of(dataset, "RescaleIntercept")
    values = (float(slope[0]) if slope else 1.0, float(intercept[0]) if intercept else 0.0)
    if not np.isfinite(values).all() or values[0] == 0:
        raise FileFault("rescale_invalid", f"slope {values[0]}, intercept {values[1]}")
    return values


def _windows(dataset: Dataset) -> tuple[Window, ...]:
    centers, widths = values_of(dataset, "WindowCenter"), values_of(dataset, "WindowWidth")
    if len(centers) != len(widths):
        raise FileFault(
            "window_invalid", f"{len(centers)} window centers beside {len(widths)} widths"
        )
    return tuple(Window(float(c), float(w)) for c, w in zip(centers, widths, strict=True))


def _lookup_tables(
    dataset: Dataset, keyword: str, signed: bool, little: bool
) -> tuple[LookupTable, ...]:
    items = dataset.get(keyword) or ()
    return tuple(_lookup_table(item, keyword, signed, little) for item in items)


def _lookup_table(item: Dataset, keyword: str, signed: bool, little: bool) -> LookupTable:
    """Read LUTDescriptor (entries, first input, bits) and LUTData (C.11.1.1.1, C.11.2.1.1)."""
    count, first, bits = (int(value) for value in values_of(item, "LUTDescriptor"))
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


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """Read PixelPaddingValue and its range limit (PS3.3 C.7.5.1.1.2)."""
    value = integer_of(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = integer_of(dataset, "PixelPaddingRangeLimit")
    return (value, value) if limit is None else (min(value, limit), max(value, limit))
