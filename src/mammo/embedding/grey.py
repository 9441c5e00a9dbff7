"""Grey and texture features of the breast, beside those of the network."""

from pathlib import Path

import numpy as np

from mammo.embedding.sources import Grey

GREY_FEATURES = 46


def open_grey(tensors: Path) -> Grey:
    """Open the images and outlines of a folder of tensors."""
    raise NotImplementedError(str(tensors))


def grey_features(image: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Placeholder."""
    raise NotImplementedError
