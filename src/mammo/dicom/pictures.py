"""Read grey pictures that some datasets publish in place of DICOM: PNG, PGM, JPEG."""

import io

import numpy as np
from PIL import Image

from mammo.errors import FileFault

FORMATS = {"PNG": "PNG", "PGM": "PPM", "JPEG": "JPEG"}


def read_picture(content: bytes, kind: str, max_pixels: int) -> np.ndarray:
    """Decode to grey values: (rows, columns) uint8 or uint16.

    Args:
        content: The file.
        kind: One of `FORMATS`.
        max_pixels: Bound on rows times columns.

    Raises:
        FileFault: The file is damaged, too large, or not grey.
    """
    try:
        with Image.open(io.BytesIO(content), formats=(FORMATS[kind],)) as image:
            if image.width * image.height > max_pixels:
                raise FileFault("dimensions_over_cap", f"{image.height} x {image.width} pixels")
            image.load()
            pixels = np.asarray(image)
            mode = image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileFault("unreadable_picture", f"{type(error).__name__}: {error}") from error
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or mode not in ("L", "RGB", "I;16", "I;16B", "I"):
        raise FileFault("not_grey", f"a picture of mode {mode}")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise FileFault("values_exceed_bits_stored", "a picture of more than 16 bits")
    return pixels.astype(np.uint16)
