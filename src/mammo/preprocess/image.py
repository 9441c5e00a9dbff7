"""One image file -> one tensor: decode, grey scale, crop, flip, resize, pad."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mammo.dicom import codecs, pictures, voi
from mammo.dicom import source as dicom
from mammo.dicom.params import Limits
from mammo.errors import FileFault
from mammo.preprocess import breast
from mammo.preprocess.params import PreprocessParams
from mammo.running.workers import Task
from mammo.storage.tensors import packed


@dataclass(frozen=True)
class Prepared:
    """One image, ready to train on.

    Attributes:
        tensor: (size_px, size_px) uint8 or uint16, chest wall at the left border.
        outline: (size_px, size_px) bool, the breast's pixels of the tensor.
        chest_wall: Where it lay in the file: `left` or `right`.
        voi: Which of lut, window, percentiles, none made the grey scale.
    """

    tensor: np.ndarray
    outline: np.ndarray
    chest_wall: str
    voi: str


def prepare(pixels: np.ndarray, grey: voi.GreyScale, params: PreprocessParams) -> Prepared:
    """Turn stored values into a tensor.

    Args:
        pixels: (rows, columns) stored values.
        grey: How the file wants them shown.
        params: Section `preprocess`.

    Raises:
        FileFault: No breast is found, or the file lacks the VOI asked for.
    """
    found = breast.find_breast(pixels, voi.brightness(grey), grey.lowest)
    kind = voi.resolve(grey, params.voi)
    bounds = _percentiles(pixels, found, grey, params) if kind == "percentiles" else None
    table = voi.display(grey, params.voi, params.voi_index, bounds)
    box = found.box if params.crop else (0, pixels.shape[0], 0, pixels.shape[1])
    turned = found.chest_wall == "right"
    image = _shown(pixels, table, grey.lowest, box, params.size_px, turned)
    highest = np.iinfo(params.dtype).max
    return Prepared(
        np.rint(image * highest).astype(params.dtype),
        _outline(found, box, pixels.shape, params.size_px, turned),
        found.chest_wall,
        kind,
    )


Box = tuple[int, int, int, int]  # top, bottom, left, right; bottom and right are exclusive


def _shown(
    pixels: np.ndarray, table: np.ndarray, lowest: int, box: Box, size_px: int, turned: bool
) -> np.ndarray:
    """Look up, crop, turn, resize and pad: (size_px, size_px) float32 in [0, 1]."""
    top, bottom, left, right = box
    image = fit(_look_up(table, pixels[top:bottom, left:right], lowest), size_px)
    return pad(cv2.flip(image, 1) if turned else image, size_px)


def _outline(
    found: breast.Breast, box: Box, shape: tuple[int, ...], size_px: int, turned: bool
) -> np.ndarray:
    """Bring the breast's mask to the tensor's geometry: (size_px, size_px) bool."""
    top, bottom, left, right = box
    rows, columns = fitted_shape((bottom - top, right - left), size_px)
    # The centres of the tensor's pixels, in pixels of the image, then in steps of the mask.
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    mask = found.mask[(y / found.step).astype(int)][:, (x / found.step).astype(int)]
    return pad(mask[:, ::-1] if turned else mask, size_px)


def fitted_shape(shape: tuple[int, ...], size_px: int) -> tuple[int, int]:
    """Say the rows and columns of an image whose long side becomes `size_px`."""
    scale = size_px / max(shape)
    rows, columns = (max(1, min(size_px, round(side * scale))) for side in shape)
    return rows, columns


def fit(image: np.ndarray, size_px: int) -> np.ndarray:
    """Resize by area with kept aspect so that the long side is `size_px`.

    Args:
        image: (rows, columns) float32.
        size_px: The long side of the result.
    """
    rows, columns = fitted_shape(image.shape, size_px)
    if max(image.shape) <= size_px:  # averaging by area has no meaning where pixels are added
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    # Twice along the first axis: there, whole rows are added up at the speed of memory.
    return _averaged(_averaged(image, rows).T, columns).T


def _averaged(image: np.ndarray, rows: int) -> np.ndarray:
    """Average over `rows` bands of equal height, borders split exactly: (rows, columns)."""
    image = np.ascontiguousarray(image)
    height = len(image) / rows
    bands = np.empty((rows, image.shape[1]), np.float32)
    for band in range(rows):
        start, end = band * height, min((band + 1) * height, len(image))
        first, last = int(start), math.ceil(end)
        weights = np.ones(last - first, np.float32)
        weights[0] -= start - first
        weights[-1] -= last - end
        np.dot(weights / weights.sum(), image[first:last], out=bands[band])
    return bands


def pad(image: np.ndarray, size_px: int) -> np.ndarray:
    """Pad to a square with zeros; the chest wall stays at the left border.

    Columns are padded on the right, rows on both sides.
    """
    square = np.zeros((size_px, size_px), dtype=image.dtype)
    rows, columns = image.shape
    top = (size_px - rows) // 2
    square[top : top + rows, :columns] = image
    return square


def _look_up(table: np.ndarray, pixels: np.ndarray, lowest: int) -> np.ndarray:
    """Map stored values to display values: (rows, columns) float32.

    OpenCV's table spans all values of the type, signed ones in two's complement, and is three
    times as fast as NumPy's indexing.
    """
    whole = np.zeros(2 ** (8 * pixels.dtype.itemsize), dtype=np.float32)
    whole[np.arange(lowest, lowest + len(table)) % len(whole)] = table
    return cv2.LUT(pixels.view(f"u{pixels.dtype.itemsize}"), whole)


def _percentiles(
    pixels: np.ndarray, found: breast.Breast, grey: voi.GreyScale, params: PreprocessParams
) -> tuple[float, float]:
    """Find the grey bounds inside the breast, padding left out."""
    position = pixels[:: found.step, :: found.step][found.mask].astype(np.int64) - grey.lowest
    inside = position[~grey.is_padding()[position]]
    if inside.size == 0:
        raise FileFault("no_breast", "only padding inside the breast's outline")
    low, high = np.percentile(
        grey.modality()[inside], (params.percentile_low, params.percentile_high)
    )
    return float(low), float(high)


def prepare_file(task: Task) -> tuple[dict[str, Any], np.ndarray]:
    """Read, check, decode and prepare one file.

    Args:
        task: `path`, `sha256`, `kind` (transfer syntax, or PNG, PGM, JPEG), and the sections
            `params` and `limits`.

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
    if task["kind"] in pictures.FORMATS:
        pixels = pictures.read_picture(content, task["kind"], limits.max_pixels)
        grey = _plain_grey(pixels.dtype)
        params = params.model_copy(update={"voi": "none"})  # a picture is meant as it is
    else:
        source = dicom.read_source(content, limits)
        pixels = codecs.decode(source, params.size_px if params.reduced_decode else None)
        grey = source.grey
    prepared = prepare(pixels, grey, params)
    facts = {"chest_wall": prepared.chest_wall, "voi": prepared.voi}
    return facts, joined(prepared.tensor, prepared.outline)


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


def _plain_grey(dtype: np.dtype) -> voi.GreyScale:
    return voi.GreyScale(
        lowest=0,
        highest=np.iinfo(dtype).max,
        inverted=False,
        slope=1.0,
        intercept=0.0,
        modality_lut=None,
        voi_luts=(),
        windows=(),
        function="LINEAR",
        padding=None,
    )
