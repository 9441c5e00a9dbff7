"""Augmented views of an image, each determined by (seed, image key, view number) alone."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network
import albumentations

from mammo.embedding.params import AugmentParams


class Augmentation:
    """Makes views; view 0 is the clean image."""

    def __init__(self, params: AugmentParams):
        self.seed = params.seed
        gamma = (100 * (1 - params.gamma), 100 * (1 + params.gamma))
        self._position = albumentations.Compose(
            [
                albumentations.VerticalFlip(p=params.vertical_flip),
                albumentations.Affine(
                    rotate=(-params.rotate_deg, params.rotate_deg),
                    scale=(1 - params.scale, 1 + params.scale),
                    translate_percent=(-params.translate, params.translate),
                    keep_ratio=True,  # a breast seen wider than it is has another density
                    p=1.0,
                ),
            ]
        )
        self._exposure = albumentations.Compose(
            [
                albumentations.RandomBrightnessContrast(
                    brightness_limit=params.brightness, contrast_limit=params.contrast, p=1.0
                ),
                albumentations.RandomGamma(gamma_limit=gamma, p=1.0),
            ]
        )

    def view(self, image: np.ndarray, key: str, view: int) -> np.ndarray:
        """Make one view: (H, W) float32 in [0, 1] -> the same.

        What comes in is black, and what is black (no breast, no tissue) stays so.
        """
        if view == 0:
            return image
        text = f"{self.seed}:{key}:{view}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        self._position.set_random_seed(seed)
        self._exposure.set_random_seed(seed)
        moved = self._position(image=image[..., None])["image"]  # (H, W, 1)
        exposed = self._exposure(image=moved)["image"]
        seen = np.where(moved > 0, np.clip(exposed, 0, 1), 0).astype(image.dtype)
        return seen.reshape(image.shape)

    def views(self, images: np.ndarray, keys: Sequence[str], views: np.ndarray) -> np.ndarray:
        """Make one view of each image: (B, H, W) and (B,) view numbers -> (B, H, W)."""
        each = zip(images, keys, views, strict=True)
        return np.stack([self.view(image, key, int(view)) for image, key, view in each])
