"""Where the breast, its nipple and its muscle lie in one view."""

import cv2
import numpy as np

from mammo.phantom.anatomy import Anatomy
from mammo.phantom.fields import Field2D, sigmoid
from mammo.phantom.frame import HEIGHT_MM, Frame


def draw_outline(
    view: str, anatomy: Anatomy, frame: Frame, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float]]:
    """Draw the breast's mask (H, W) and place the nipple (x, y)."""
    depth = anatomy.depth_mm * rng.uniform(0.95, 1.05)
    if view == "CC":
        skin_x, nipple_y = _outline_cc(depth, anatomy, frame.y, rng)
    else:
        skin_x, nipple_y = _outline_mlo(depth, anatomy, frame.y, rng)
    for n in (1, 2, 3):
        phase = 2 * np.pi * (n * frame.y / HEIGHT_MM + rng.uniform())
        skin_x = skin_x * (1 + rng.normal(0, 0.008 / n) * np.sin(phase))
    radius = rng.uniform(3.5, 5.0)
    tip = float(np.interp(nipple_y, frame.y[:, 0], skin_x[:, 0])) + rng.uniform(-2, 2)
    bump = ((frame.x - tip) / (1.3 * radius)) ** 2 + ((frame.y - nipple_y) / radius) ** 2 < 1
    sharp = ((frame.x < skin_x) | bump).astype(np.float32)
    sigma = 2.0 / frame.spacing_mm  # rounds the corner between nipple and skin
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred > 0.5, (tip, nipple_y)


def _outline_cc(
    depth: float, anatomy: Anatomy, y: Field2D, rng: np.random.Generator
) -> tuple[Field2D, float]:
    """Draw the skin (H, 1) of a craniocaudal view, a half disc, and the nipple's height."""
    half = anatomy.half_height_mm * rng.uniform(0.96, 1.04)
    middle = HEIGHT_MM / 2 + rng.normal(0, 3)
    nipple_y = middle + half * rng.normal(0, 0.06)
    reach = np.where(y < nipple_y, nipple_y - (middle - half), middle + half - nipple_y)
    off = np.minimum(np.abs(y - nipple_y) / reach, 1)
    return depth * (1 - off**anatomy.roundness) ** (1 / anatomy.roundness), nipple_y


def _outline_mlo(
    depth: float, anatomy: Anatomy, y: Field2D, rng: np.random.Generator
) -> tuple[Field2D, float]:
    """Draw the skin (H, 1) of an oblique view, a drop under the axilla, and the nipple's height."""
    nipple_y = HEIGHT_MM * rng.uniform(0.55, 0.66)
    fold = nipple_y + anatomy.half_height_mm * rng.uniform(0.8, 0.95)
    fold = min(fold, HEIGHT_MM - 5)
    axilla = depth * rng.uniform(0.35, 0.6)
    upper = np.sin(np.pi / 2 * np.minimum(y / nipple_y, 1)) ** rng.uniform(1.3, 2.1)
    lower = np.clip((y - nipple_y) / (fold - nipple_y), 0, 1)
    below = depth * (1 - lower**anatomy.roundness) ** (1 / anatomy.roundness)
    return np.where(y < nipple_y, axilla + (depth - axilla) * upper, below), nipple_y


def draw_pectoral(frame: Frame, rng: np.random.Generator) -> Field2D:
    """Draw the pectoral muscle of an MLO view: a soft-edged wedge in the upper corner, 0 to 1."""
    across_mm, down_mm = rng.uniform(40, 65), rng.uniform(105, 165)
    bulge = rng.uniform(-0.05, 0.12) * np.sin(np.pi * np.clip(frame.y / down_mm, 0, 1))
    inward_mm = (1 + bulge - frame.x / across_mm - frame.y / down_mm) * across_mm
    return sigmoid(inward_mm / 0.8)
