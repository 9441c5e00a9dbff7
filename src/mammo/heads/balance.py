"""How much an image of a rare class weighs."""

import numpy as np


def frequency_weights(counts: np.ndarray, power: float) -> np.ndarray:
    """Weigh each class by n^-power, relative to the largest class: (K,) -> (K,).

    Power 0 leaves classes as frequent as they are, 1 makes them equal. A class without images
    weighs 0.
    """
    relative = np.divide(counts.max(), counts, out=np.zeros(len(counts)), where=counts > 0)
    return np.where(counts > 0, relative**power, 0.0)
