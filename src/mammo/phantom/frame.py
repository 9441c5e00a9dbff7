"""The pixel grid that a picture is drawn on, in millimetres."""

import numpy as np

HEIGHT_MM = 240.0  # of the detector, whatever the number of rows


class Frame:
    """The pixel grid: centres in millimetres, `x` (1, W) from the chest wall, `y` (H, 1) down."""

    def __init__(self, rows: int, columns: int):
        self.rows, self.columns = self.shape = rows, columns
        self.spacing_mm = HEIGHT_MM / rows
        self.x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) * np.float32(self.spacing_mm)
        self.y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(self.spacing_mm)
