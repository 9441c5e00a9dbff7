"""One file -> a small picture of it as it lies on disk, with the breast's box; for the sheets.

Shown in full and unturned, so that crop and orientation can be judged beside the tensor.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mammo.dicom import codecs, greyscale
from mammo.dicom.params import Limits
from mammo.dicom.picture_header import picture_kind
from mammo.dicom.picture_pixels import read_picture
from mammo.dicom.source import read_source
from mammo.errors import FileFault
from mammo.preprocess.breast import Breast, find_breast
from mammo.running.serving import Task


def draw_file(task: Task) -> tuple[dict[str, Any], np.ndarray]:
    """Decode one file to a thumbnail.

    Args:
        task: `path`, `size_px` (the long side), and section `limits`.

    Returns:
        The facts `box` (left, top, right, bottom, in pixels of the thumbnail; None where no breast
        is found) and `chest_wall`; and the thumbnail, (rows, columns) uint8.

    Raises:
        FileFault: The file can't be decoded.
    """
    cv2.setNumThreads(1)
    limits = Limits.model_validate(task["limits"])
    path = Path(task["path"])
    try:
        kind = picture_kind(path)
        content = path.read_bytes()
    except OSError as error:
        raise FileFault("unreadable_file", f"{type(error).__name__}: {error.strerror}") from error
    if kind:
        pixels = read_picture(content, kind, limits.max_pixels)
        lowest, table = 0, np.linspace(0, 1, int(np.iinfo(pixels.dtype).max) + 1, dtype=np.float32)
    else:
        source = read_source(content, limits)
        pixels = codecs.decode(source, task["size_px"]).pixels
        lowest, table = source.grey.lowest, greyscale.brightness(source.grey)
    return _thumbnail(pixels, lowest, table, task["size_px"])


def _thumbnail(
    pixels: np.ndarray, lowest: int, table: np.ndarray, size_px: int
) -> tuple[dict[str, Any], np.ndarray]:
    scale = size_px / max(pixels.shape)
    rows, columns = (max(1, round(side * scale)) for side in pixels.shape)
    image = table[pixels.astype(np.int64) - lowest].astype(np.float32)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(image, (columns, rows), interpolation=method)
    low, high = np.percentile(small, (1, 99.5))  # no window is believed here: what is there shows
    grey = np.rint(255 * ((small - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
    try:
        found: Breast | None = find_breast(pixels, table, lowest)
    except FileFault:
        found = None
    if found is None:
        return {"box": None, "chest_wall": ""}, grey
    box = [round(side * scale) for side in (found.left, found.top, found.right, found.bottom)]
    return {"box": box, "chest_wall": found.chest_wall}, grey
