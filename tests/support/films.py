"""Films drawn as an ellipse, and the grey scale that they are looked at with."""

import numpy as np

TABLE = (np.arange(4096) / 4095).astype(np.float32)


def ellipse(rows=200, columns=120, height=0.4, width=0.6, level=1500, background=0):
    y, x = np.mgrid[0:rows, 0:columns]
    inside = ((y - rows / 2) / (height * rows)) ** 2 + (x / (width * columns)) ** 2 < 1
    return np.where(inside, level, background).astype(np.uint16)
