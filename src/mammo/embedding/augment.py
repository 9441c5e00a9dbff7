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
        self._transform = albumentations.Compose(
            [
                albumentations.VerticalFlip(p=params.vertical_flip),
                albumentations.Affine(
                    rotate=(-params.rotate_deg, params.rotate_deg),
                    scale=(1 - params.scale, 1 + params.scale),
                    translate_percent=(-params.translate, params.translate),
                    p=1.0,
                ),
                albumentations.RandomBrightnessContrast(
                    brightness_limit=params.brightness, contrast_limit=params.contrast, p=1.0
                ),
                albumentations.RandomGamma(gamma_limit=gamma, p=1.0),
            ]
        )

    def view(self, image: np.ndarray, key: str, view: int) -> np.ndarray:
        """Make one view: (H, W) float32 in [0, 1] -> the same; what comes in is black."""
        if view == 0:
            return image
        text = f"{self.seed}:{key}:{view}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        self._transform.set_random_seed(seed)
        changed = self._transform(image=image[..., None])["image"]  # (H, W, 1)
        return np.clip(changed.reshape(image.shape), 0, 1)

    def views(self, images: np.ndarray, keys: Sequence[str], view: int) -> np.ndarray:
        """Make the same view number of several images: (B, H, W) -> (B, H, W)."""
        if view == 0:
            return images
        pairs = zip(images, keys, strict=True)
        return np.stack([self.view(image, key, view) for image, key in pairs])
