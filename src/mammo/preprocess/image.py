"""One image file -> one tensor: decode, grey scale, crop, flip, resize, pad."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mammo.dicom import codecs, pictures, voi
from mammo.dicom import source as dicom
from mammo.errors import FileFault
from mammo.preprocess import breast
from mammo.preprocess.params import PreprocessParams
from mammo.running.workers import Task


@dataclass(frozen=True)
class Prepared:
    """One image, ready to train on.

    Attributes:
        tensor: (size_px, size_px) uint8 or uint16, chest wall at the left border.
        chest_wall: Where it lay in the file: `left` or `right`.
        voi: Which of lut, window, percentiles, none made the grey scale.
    """

    tensor: np.ndarray
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
    if params.crop:
        pixels = pixels[found.top : found.bottom, found.left : found.right]
    image = _look_up(table, pixels, grey.lowest)  # (rows, columns) float32 in [0, 1]
    if found.chest_wall == "right":
        image = cv2.flip(image, 1)
    image = fit(image, params.size_px)
    highest = np.iinfo(params.dtype).max
    return Prepared(np.rint(image * highest).astype(params.dtype), found.chest_wall, kind)


def fit(image: np.ndarray, size_px: int) -> np.ndarray:
    """Resize by area with kept aspect, then pad to a square with black.

    The chest wall stays at the left border: columns are padded on the right, rows on both sides.

    Args:
        image: (rows, columns) float32.
        size_px: Side of the square.
    """
    image = _halved(image, size_px)
    scale = size_px / max(image.shape)
    rows, columns = (max(1, min(size_px, round(side * scale))) for side in image.shape)
    # Averaging by area has no meaning where pixels are added.
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (columns, rows), interpolation=method)
    square = np.zeros((size_px, size_px), dtype=np.float32)
    top = (size_px - rows) // 2
    square[top : top + rows, :columns] = resized
    return square


def _halved(image: np.ndarray, size_px: int) -> np.ndarray:
    """Average 2 x 2 pixels as long as twice the size is left over.

    Averages of averages are averages, in a fifth of the time; an odd last row or column, less
    than a pixel of the tensor, goes.
    """
    while max(image.shape) >= 4 * size_px and min(image.shape) >= 2:
        rows, columns = (side // 2 for side in image.shape)
        even = image[: 2 * rows, : 2 * columns]
        image = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
    return image


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
        The facts to keep beside the tensor, and the tensor.

    Raises:
        FileFault: The file can't be used.
    """
    cv2.setNumThreads(1)
    params = PreprocessParams.model_validate(task["params"])
    limits = dicom.Limits.model_validate(task["limits"])
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
    return {"chest_wall": prepared.chest_wall, "voi": prepared.voi}, prepared.tensor


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
