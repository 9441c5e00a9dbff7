"""One image file -> one tensor: decode, grey scale, crop, flip, resize, pad."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mammo.dicom import codecs, greyscale
from mammo.dicom import source as dicom
from mammo.dicom.params import Limits
from mammo.dicom.picture_header import FORMATS
from mammo.dicom.picture_pixels import read_picture
from mammo.errors import FileFault
from mammo.preprocess import breast
from mammo.preprocess.params import PreprocessParams
from mammo.preprocess.resize import fit, fitted_shape, pad
from mammo.running.serving import Task
from mammo.storage.tensors import packed


@dataclass(frozen=True)
class Prepared:
    """One image, ready to train on.

    Attributes:
        tensor: (size_px, size_px) uint8 or uint16, chest wall at the left border.
        outline: (size_px, size_px) bool, the breast's pixels of the tensor.
        chest_wall: Where it lay in the file: `left` or `right`.
        pixels_say: Where the pixels alone would put it.
        voi: Which of lut, window, percentiles, none made the grey scale.
        flags: What was odd and is counted, sorted.
        found: The breast, in pixels of the decoded image.
    """

    tensor: np.ndarray
    outline: np.ndarray
    chest_wall: str
    pixels_say: str
    voi: str
    flags: tuple[str, ...]
    found: breast.Breast


# In the standard's orientation a left breast hangs from the left border.
_CHEST_WALL = {"L": "left", "R": "right"}


def prepare(
    pixels: np.ndarray,
    grey: greyscale.GreyScale,
    params: PreprocessParams,
    side: str = "",
    extent: tuple[float, float] | None = None,
) -> Prepared:
    """Turn stored values into a tensor.

    Args:
        pixels: (rows, columns) stored values.
        grey: How the file wants them shown.
        params: Section `preprocess`.
        side: Where the header puts the chest wall, `left` or `right`; '' where it doesn't say.
        extent: Height and width of the image in these pixels, where a reduced image's last row
            or column holds a part of a pixel.

    Raises:
        FileFault: No breast is found, or no grey scale allowed shows anything of it.
    """
    found = breast.find_breast(pixels, greyscale.brightness(grey), grey.lowest)
    table, kind, flags = _grey_scale(pixels, found, grey, params)
    if found.holds_all_corners:
        flags.add("bright_corners")
    said = side or found.chest_wall
    if said != found.chest_wall:
        flags.add("chest_wall_against_laterality")
    chest_wall = said if params.orientation == "auto" else found.chest_wall
    height, width = extent or pixels.shape
    top, bottom, left, right = found.box if params.crop else (0, height, 0, width)
    box = (top, min(bottom, height), left, min(right, width))
    turned = chest_wall == "right"
    image = _shown(pixels, table, grey.lowest, box, params.size_px, turned)
    outline = _outline(found, box, params.size_px, turned)
    if params.background == "zero":
        image *= widened(outline)
    highest = np.iinfo(params.dtype).max
    return Prepared(
        np.rint(image * highest).astype(params.dtype),
        outline,
        chest_wall,
        found.chest_wall,
        kind,
        tuple(sorted(flags)),
        found,
    )


def _grey_scale(
    pixels: np.ndarray,
    found: breast.Breast,
    grey: greyscale.GreyScale,
    params: PreprocessParams,
) -> tuple[np.ndarray, str, set[str]]:
    """Choose the first grey scale that shows the breast: its table, its kind, flags.

    Raises:
        FileFault: None of those allowed does.
    """
    position = pixels[:: found.step, :: found.step][found.mask].astype(np.int64) - grey.lowest
    inside = position[~grey.is_padding()[position]]
    if inside.size == 0:
        raise FileFault("no_breast", "only padding inside the breast's outline")
    low, high = np.percentile(inside, (1, 99))
    if high - low < _LEAST_LEVELS:
        raise FileFault(
            "no_contrast", f"the breast takes {high - low:.0f} stored values, fewer than 16"
        )
    flags: set[str] = set()
    faults: list[FileFault] = []
    for choice in greyscale.choices(grey, params.voi, params.voi_index):
        last = choice.kind == "percentiles"
        bounds = _percentiles(inside, grey, params) if last else None
        try:
            table = greyscale.display(grey, choice, bounds)
            _require_contrast(table[inside], choice.kind, hard=last and params.voi == "auto")
        except FileFault as fault:
            faults.append(fault)
            flags.add(fault.reason)
            continue
        if greyscale.is_shallow(grey, choice):
            flags.add("depth_from_data")
        return table, choice.kind, flags
    raise faults[-1]


# Shares of the breast at plain black or white, and spreads between its first and last percent,
# beyond which a picture says nothing; percentiles, the last resort, can do no better than the
# stored values themselves.
_MOST_SATURATED, _MOST_SATURATED_AT_LAST = 0.3, 0.6
_LEAST_SPREAD = 0.1
_LEAST_LEVELS = 16  # stored values; fewer are noise


def _require_contrast(shown: np.ndarray, kind: str, hard: bool) -> None:
    """Refuse a grey scale that leaves the breast nearly constant, or largely saturated.

    Raises:
        FileFault: Names the kind: `window_constant`, `lut_saturated`, ...
    """
    low, high = np.percentile(shown, (1, 99))
    if high - low < _LEAST_SPREAD:
        raise FileFault(
            f"{kind}_constant",
            f"the breast takes {high - low:.1%} of the grey scale, needs {_LEAST_SPREAD:.0%}",
        )
    share = float(np.mean((shown <= 0) | (shown >= 1)))
    most = _MOST_SATURATED_AT_LAST if hard else _MOST_SATURATED
    if share > most:
        raise FileFault(
            f"{kind}_saturated",
            f"{share:.0%} of the breast is plain black or white, must be at most {most:.0%}",
        )


def widened(outline: np.ndarray) -> np.ndarray:
    """Widen an outline by the margin that keeps the skin line."""
    reach = max(1, round(len(outline) * _SKIN_MARGIN))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(outline.astype(np.uint8), disc).astype(bool)


_SKIN_MARGIN = 0.02  # of the tensor's side


Box = tuple[int, float, int, float]  # top, bottom, left, right; bottom and right are exclusive


def _shown(
    pixels: np.ndarray, table: np.ndarray, lowest: int, box: Box, size_px: int, turned: bool
) -> np.ndarray:
    """Look up, crop, turn, resize and pad: (size_px, size_px) float32 in [0, 1]."""
    top, bottom, left, right = box
    inside = pixels[top : math.ceil(bottom), left : math.ceil(right)]
    image = fit(_look_up(table, inside, lowest), size_px, (bottom - top, right - left))
    return pad(cv2.flip(image, 1) if turned else image, size_px)


def _outline(found: breast.Breast, box: Box, size_px: int, turned: bool) -> np.ndarray:
    """Bring the breast's mask to the tensor's geometry: (size_px, size_px) bool."""
    top, bottom, left, right = box
    rows, columns = fitted_shape((bottom - top, right - left), size_px)
    # The centres of the tensor's pixels, in pixels of the image, then in steps of the mask.
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    mask = found.mask[(y / found.step).astype(int)][:, (x / found.step).astype(int)]
    return pad(_filled(mask[:, ::-1] if turned else mask), size_px)


def _filled(mask: np.ndarray) -> np.ndarray:
    """Fill each row from the chest wall, at the left, to the skin: fat may be as dark as air."""
    first = mask.any(axis=0).argmax()
    to_the_skin = np.maximum.accumulate(mask[:, ::-1], axis=1)[:, ::-1]
    to_the_skin[:, :first] = False
    return to_the_skin


def _look_up(table: np.ndarray, pixels: np.ndarray, lowest: int) -> np.ndarray:
    """Map stored values to display values: (rows, columns) float32.

    OpenCV's table spans all values of the type, signed ones in two's complement, and is three
    times as fast as NumPy's indexing.
    """
    whole = np.zeros(2 ** (8 * pixels.dtype.itemsize), dtype=np.float32)
    whole[np.arange(lowest, lowest + len(table)) % len(whole)] = table
    return cv2.LUT(pixels.view(f"u{pixels.dtype.itemsize}"), whole)


def _percentiles(
    inside: np.ndarray, grey: greyscale.GreyScale, params: PreprocessParams
) -> tuple[float, float]:
    """Find the grey bounds inside the breast, padding left out."""
    low, high = np.percentile(
        grey.modality()[inside], (params.percentile_low, params.percentile_high)
    )
    return float(low), float(high)


def prepare_file(task: Task) -> tuple[dict[str, Any], np.ndarray]:
    """Read, check, decode and prepare one file.

    Args:
        task: `path`, `sha256`, `kind` (transfer syntax, or a picture's kind), `laterality`,
            `manufacturer`, and the sections `params` and `limits`.

    Returns:
        The facts to keep beside the tensor, and tensor and outline as `joined`.

    Raises:
        FileFault: The file can't be used.
    """
    cv2.setNumThreads(1)
    params = PreprocessParams.model_validate(task["params"])
    limits = Limits.model_validate(task["limits"])
    try:
        content = Path(task["path"]).read_bytes()
    except OSError as error:
        raise FileFault("unreadable_file", f"{type(error).__name__}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != task["sha256"]:
        raise FileFault("changed_since_ingest", "its SHA-256 differs from data/files.csv")
    params = params.for_manufacturer(task["manufacturer"])
    image = read_image(content, task["kind"], params, limits)
    side = image.side or _CHEST_WALL.get(task["laterality"], "")
    prepared = prepare(image.pixels, image.grey, params, side, image.extent)
    facts = {
        "chest_wall": prepared.chest_wall,
        "pixels_say": prepared.pixels_say,
        "voi": prepared.voi,
        "flags": sorted({*image.flags, *prepared.flags}),
    }
    return facts, joined(prepared.tensor, prepared.outline)


@dataclass(frozen=True)
class Image:
    """A decoded file.

    Attributes:
        pixels: (rows, columns) stored values, perhaps of a lower resolution level.
        extent: Height and width in these pixels; None where they are the pixels' own.
        side: Where the header puts the chest wall; '' where it doesn't say.
    """

    pixels: np.ndarray
    grey: greyscale.GreyScale
    flags: tuple[str, ...]
    extent: tuple[float, float] | None
    side: str


def read_image(content: bytes, kind: str, params: PreprocessParams, limits: Limits) -> Image:
    """Decode a DICOM file or a picture.

    Raises:
        FileFault: It can't be decoded.
    """
    if kind in FORMATS:
        pixels = read_picture(content, kind, limits.max_pixels)
        grey, flags = _picture_grey(pixels)
        return Image(pixels, grey, flags, None, "")
    source = dicom.read_source(content, limits)
    decoded = codecs.decode(source, params.size_px if params.reduced_decode else None)
    part = 2**decoded.reduction
    extent = (source.layout.rows / part, source.layout.columns / part)
    return Image(decoded.pixels, source.grey, decoded.flags, extent, source.header.chest_wall)


def joined(tensor: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Set a tensor's bytes and its outline's bits in one row: what a worker hands back."""
    return np.concatenate([tensor.reshape(-1).view(np.uint8), packed(outline).reshape(-1)])


def parted(row: np.ndarray, params: PreprocessParams) -> tuple[np.ndarray, np.ndarray]:
    """Undo `joined`, but for the packing: tensor, and outline (size_px, ceil(size_px / 8)) uint8.

    Raises:
        ValueError: The row has another length.
    """
    size, dtype = params.size_px, np.dtype(params.dtype)
    end = size * size * dtype.itemsize
    return row[:end].view(dtype).reshape(size, size), row[end:].reshape(size, -(-size // 8))


def _picture_grey(pixels: np.ndarray) -> tuple[greyscale.GreyScale, tuple[str, ...]]:
    """Take a picture's values as they are, to the depth that they really use."""
    bits = 8 * pixels.dtype.itemsize
    used = greyscale.used_bits(int(pixels.max(initial=0)), bits)
    grey = greyscale.GreyScale(lowest=0, highest=2**used - 1, own="none")
    return grey, ("depth_from_data",) if used < bits else ()
