"""Draw synthetic mammograms: a planned image -> brightness, and the truth that it was drawn from.

A picture is drawn in millimetres from the upper corner at the chest wall, which is at the left,
and turned at the end, so that a picture of 256 rows shows the same breast as one of 800. Its
true class is the share of the breast that is dense (BI-RADS, 4th edition, 2003: quartiles),
exactly, by a quantile of a random field with a 1/f^3 power spectrum (Burgess 1999). Brightness,
contrast and thickness vary from patient to patient, so that the mean doesn't tell the class.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft

from mammo.phantom.anatomy import Anatomy, draw_anatomy
from mammo.phantom.fields import Field2D, Textures, draw_textures, sigmoid
from mammo.phantom.frame import HEIGHT_MM, Frame
from mammo.phantom.outline import draw_outline, draw_pectoral
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import QUARTILES, VIEWS, PlannedImage, true_class

SKIN_MM = 1.5  # where the skin line has faded to 1/e


@dataclass(frozen=True)
class Picture:
    """A drawn breast, (rows, columns) each: brightness in [0, 1.2] or so, 0 in air, and truth."""

    signal: np.ndarray  # float32
    breast: np.ndarray  # bool, the pectoral muscle included
    dense: np.ndarray  # bool
    pectoral: np.ndarray  # bool

    @property
    def dense_share(self) -> float:
        """Of the breast without its muscle."""
        return float(self.dense.sum() / (self.breast & ~self.pectoral).sum())


def draw_picture(image: PlannedImage, params: PhantomParams) -> Picture:
    """Draw one breast from (seed, patient, side, view), chest wall on the side of its laterality.

    Dense tissue is where a score of position and texture exceeds a quantile; the rest is shading.
    The shapes are drawn after the look of mammograms, not after a published model.
    """
    anatomy = draw_anatomy(image, params)
    rng = np.random.default_rng([params.seed, 2, image.patient, VIEWS.index(image.side_and_view)])
    frame = _frame_of(anatomy, params)
    breast, nipple = draw_outline(image.view, anatomy, frame, rng)
    depth_mm = cv2.distanceTransform(breast.astype(np.uint8), cv2.DIST_L2, 5) * frame.spacing_mm
    pectoral = draw_pectoral(frame, rng) if image.view == "MLO" else np.zeros_like(depth_mm)
    muscle = breast & (pectoral > 0.5)
    textures = draw_textures(frame, nipple, params, rng)

    prior = _gland_prior(image.view, anatomy, frame, nipple, rng)
    score = _gland_score(prior, anatomy, textures, depth_mm)
    gland = breast & ~muscle
    share = _image_share(image, params, rng)
    excess = score - float(np.quantile(score[gland], 1 - share))

    signal = _shade_tissue(excess, pectoral, anatomy, textures)
    signal = _shade_surface(signal, depth_mm, nipple, frame, anatomy, textures)
    signal = np.where(breast, np.maximum(signal, 0.02), 0).astype(np.float32)
    layers = (signal, breast, gland & (excess > 0), muscle)
    return Picture(*(_place(layer, image.laterality, params.columns) for layer in layers))


def _frame_of(anatomy: Anatomy, params: PhantomParams) -> Frame:
    """Choose the part of the detector that the breast can reach, of a width that is fast to FFT."""
    spacing_mm = HEIGHT_MM / params.rows
    reach = math.ceil(1.1 * anatomy.depth_mm / spacing_mm + 12 / spacing_mm)
    return Frame(params.rows, min(scipy.fft.next_fast_len(reach, real=True), params.columns))


def _image_share(image: PlannedImage, params: PhantomParams, rng: np.random.Generator) -> float:
    """Vary the patient's dense share from image to image, within the quartile less its margin."""
    low, high = QUARTILES[true_class(image.dense_share)]
    share = image.dense_share + rng.normal(0, 0.01)
    return min(max(share, low + params.boundary_margin), high - params.boundary_margin)


def _gland_prior(
    view: str, anatomy: Anatomy, frame: Frame, nipple: tuple[float, float], rng: np.random.Generator
) -> Field2D:
    """Score where dense tissue lies: a cone behind the nipple, leaning to the upper outer part."""
    tip, middle = nipple
    centre_x = tip * rng.uniform(0.5, 0.66)
    centre_y = middle - HEIGHT_MM * rng.uniform(0.01, 0.07)
    tilt = rng.uniform(0.04, 0.2) if view == "MLO" else rng.uniform(0.0, 0.08)
    along, across = tip * 0.42, anatomy.half_height_mm * 0.55
    dx, dy = frame.x - centre_x, frame.y - centre_y + tilt * (tip - frame.x)
    return -1.2 * ((dx / along) ** 2 + (dy / across) ** 2)


def _gland_score(
    prior: Field2D, anatomy: Anatomy, textures: Textures, depth_mm: Field2D
) -> Field2D:
    """Score how readily tissue is dense: by position, by texture, and least under the skin."""
    texture = anatomy.clumping * (0.8 * textures.tissue + 0.5 * textures.ducts)
    return prior + texture + anatomy.lobules * textures.lobules - 4.0 * np.exp(-depth_mm / 4.0)


def _shade_tissue(
    excess: Field2D, pectoral: Field2D, anatomy: Anatomy, textures: Textures
) -> Field2D:
    """Add up fat, ligaments, dense tissue (`excess` > 0) and muscle in full thickness."""
    fraction = sigmoid(excess / anatomy.softness) * (1 - pectoral)
    fraction *= 0.58 + 0.25 * np.tanh(excess) + 0.1 * textures.web + 0.09 * textures.shade
    fraction *= 1 + anatomy.nodules * textures.nodules
    seen = 1 - np.minimum(fraction + pectoral, 1)  # ligaments show in fat alone
    signal = anatomy.fat * (1 + 0.06 * textures.shade) + anatomy.strands * textures.web * seen
    signal += anatomy.contrast * fraction * (1 + 0.08 * textures.ducts)
    shaded: Field2D = signal + anatomy.muscle * pectoral * (1 + 0.06 * textures.ducts)
    return shaded


def _shade_surface(
    signal: Field2D,
    depth_mm: Field2D,
    nipple: tuple[float, float],
    frame: Frame,
    anatomy: Anatomy,
    textures: Textures,
) -> Field2D:
    """Thin the breast towards its round rim, tilt it under the paddle, and add the skin line."""
    rim = np.clip(depth_mm / anatomy.rim_mm, 0, 1)
    thickness = (1 - (1 - rim) ** 2) ** (anatomy.edge / 2) * (1 + anatomy.tilt * textures.sway)
    areola = np.exp(-((frame.x - nipple[0]) ** 2 + (frame.y - nipple[1]) ** 2) / 60.0)
    skin = (0.16 + 0.12 * areola) * np.exp(-((depth_mm / SKIN_MM) ** 2))
    return signal * thickness + skin


def _place(layer: np.ndarray, laterality: str, columns: int) -> np.ndarray:
    """Pad with air to the detector's width and turn, so that right breasts lie at the right."""
    layer = np.pad(layer, ((0, 0), (0, columns - layer.shape[1])))
    return np.ascontiguousarray(layer[:, ::-1]) if laterality == "R" else layer
