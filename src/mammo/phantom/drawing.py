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

from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import QUARTILES, VIEWS, PlannedImage, true_class

HEIGHT_MM = 240.0  # of the detector, whatever the number of rows
SKIN_MM = 1.5  # where the skin line has faded to 1/e

Field2D = np.ndarray  # float32; (H, W), or (H, 1) and (1, W) where it varies one way only


class Frame:
    """The pixel grid: centres in millimetres, `x` (1, W) from the chest wall, `y` (H, 1) down."""

    def __init__(self, rows: int, columns: int):
        self.rows, self.columns = self.shape = rows, columns
        self.spacing_mm = HEIGHT_MM / rows
        self.x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) * np.float32(self.spacing_mm)
        self.y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(self.spacing_mm)


@dataclass(frozen=True)
class Anatomy:
    """What the images of one patient have in common."""

    depth_mm: float  # chest wall to nipple
    half_height_mm: float  # CC
    roundness: float  # exponent of the outline: 2 is an ellipse
    contrast: float  # of dense tissue over fat
    fat: float  # brightness of fat
    muscle: float  # of the pectoral muscle over fat
    edge: float  # thickness at the rim: the exponent of a round edge's profile
    rim_mm: float  # width of the zone where the thickness falls off
    clumping: float  # weight of texture against position: one disc, or scattered islands
    lobules: float  # weight of the lobules of fat within dense tissue
    strands: float  # brightness of Cooper's ligaments and ducts in fat
    nodules: float  # graininess of dense tissue
    tilt: float  # unevenness of the compressed thickness
    softness: float  # of the border between dense tissue and fat


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


def draw_anatomy(image: PlannedImage, params: PhantomParams) -> Anatomy:
    """Draw the lot of one patient from (seed, patient)."""
    rng = np.random.default_rng([params.seed, 1, image.patient])
    rng.random()  # is the patient's place within its class: the plan has used it
    return Anatomy(
        depth_mm=rng.uniform(0.42, 0.68) * HEIGHT_MM * params.columns / params.rows,
        half_height_mm=rng.uniform(75, 103),
        roundness=rng.uniform(1.75, 2.3),
        contrast=rng.uniform(0.28, 0.5),
        fat=rng.uniform(0.25, 0.4),
        muscle=rng.uniform(0.2, 0.45),
        edge=rng.uniform(0.45, 0.8),
        rim_mm=rng.uniform(14.0, 26.0),
        clumping=rng.uniform(0.5, 1.0),
        lobules=rng.uniform(0.2, 0.6),
        strands=rng.uniform(0.08, 0.2),
        nodules=rng.uniform(0.04, 0.1),
        tilt=rng.uniform(0.03, 0.15),
        softness=rng.uniform(0.15, 0.35),
    )


def draw_picture(image: PlannedImage, params: PhantomParams) -> Picture:
    """Draw one breast from (seed, patient, side, view), chest wall on the side of its laterality.

    Dense tissue is where a score of position and texture exceeds a quantile; the rest is shading.
    The shapes are drawn after the look of mammograms, not after a published model.
    """
    anatomy = draw_anatomy(image, params)
    rng = np.random.default_rng([params.seed, 2, image.patient, VIEWS.index(image.side_and_view)])
    frame = _frame_of(anatomy, params)
    breast, nipple = _outline(image.view, anatomy, frame, rng)
    depth_mm = cv2.distanceTransform(breast.astype(np.uint8), cv2.DIST_L2, 5) * frame.spacing_mm
    pectoral = _pectoral(frame, rng) if image.view == "MLO" else np.zeros_like(depth_mm)
    muscle = breast & (pectoral > 0.5)
    textures = _draw_textures(frame, nipple, params, rng)

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


def _image_share(image: PlannedImage, params: PhantomParams, rng: np.random.Generator) -> float:
    """Vary the patient's dense share from image to image, within the quartile less its margin."""
    low, high = QUARTILES[true_class(image.dense_share)]
    share = image.dense_share + rng.normal(0, 0.01)
    return min(max(share, low + params.boundary_margin), high - params.boundary_margin)


@dataclass(frozen=True)
class Textures:
    """Random fields (H, W) that one picture is made of, mean 0 and variance about 1 but `web`."""

    tissue: Field2D  # power law: where the dense tissue is
    shade: Field2D  # power law: brightness
    sway: Field2D  # slow
    ducts: Field2D  # along rays from the nipple
    lobules: Field2D  # of fat
    nodules: Field2D  # of dense tissue
    web: Field2D  # ligaments: thin bright lines on 0


def _draw_textures(
    frame: Frame, nipple: tuple[float, float], params: PhantomParams, rng: np.random.Generator
) -> Textures:
    tissue = power_law_field(frame.shape, params.spectral_exponent, rng)
    # half the picture away, a field is as good as another one, and free
    shade = np.roll(tissue, (frame.rows // 2, frame.columns // 2), (0, 1))
    sway = _band_field(frame, 160.0, rng)
    ducts, ligaments, lobes = _radial_fields(frame, nipple, sway, rng)
    web = _ridges(ligaments, 0.08) + 0.4 * _ridges(_band_field(frame, 60.0, rng), 0.03)
    return Textures(
        tissue=tissue,
        shade=shade,
        sway=sway,
        ducts=ducts,
        lobules=0.8 * _band_field(frame, 22.0, rng) + 0.6 * lobes,
        nodules=_band_field(frame, 9.0, rng),
        web=web * np.exp(0.5 * shade),
    )


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
    fraction = _sigmoid(excess / anatomy.softness) * (1 - pectoral)
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


def power_law_field(shape: tuple[int, int], exponent: float, rng: np.random.Generator) -> Field2D:
    """Make a random field of mean 0 and variance 1 whose power spectrum falls as 1/f^exponent.

    Source: Burgess, SPIE 3663 (1999) 419: mammographic backgrounds have an exponent near 3.
    """
    frequency = _frequencies(shape)
    return _filter_noise(shape, frequency ** np.float32(-exponent / 2), rng)


def _band_field(frame: Frame, size_mm: float, rng: np.random.Generator) -> Field2D:
    """Make a field of blobs of one size, mean 0 and variance 1, at no more pixels than it needs."""
    size_px = size_mm / frame.spacing_mm
    coarser = max(1, int(size_px / 12))
    shape = (math.ceil(frame.rows / coarser), math.ceil(frame.columns / coarser))
    frequency = _frequencies(shape) * np.float32(size_px / coarser)
    field = _filter_noise(shape, _band(frequency), rng)
    return cv2.resize(field, (frame.columns, frame.rows), interpolation=cv2.INTER_CUBIC)


def _radial_fields(
    frame: Frame, nipple: tuple[float, float], bend: Field2D, rng: np.random.Generator
) -> tuple[Field2D, Field2D, Field2D]:
    """Make three fields stretched along rays from the nipple, as ducts and ligaments run.

    `bend`, a field of variance 1, keeps the rays from being straight.
    """
    size = (512, 256)  # (angle, radius): 0.7 degrees by 0.9 mm, four times longer than wide
    ducts = power_law_field(size, 3.0, rng)
    frequency = _frequencies(size)
    ligaments, lobes = (
        _filter_noise(size, _band(frequency * np.float32(period)), rng) for period in (44, 28)
    )
    dx, dy = nipple[0] + 15 - frame.x, frame.y - nipple[1]
    radius, angle = cv2.cartToPolar(dx + 0 * dy, dy + 0 * dx)  # (H, W) each
    along = radius / np.float32(0.9)
    across = angle * np.float32(size[0] / (2 * np.pi)) + 7 * bend
    polar = np.dstack([ducts, ligaments, lobes])  # (512, 256, 3)
    fields = cv2.remap(polar, along, across, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return fields[..., 0], fields[..., 1], fields[..., 2]


def _frequencies(shape: tuple[int, int]) -> Field2D:
    """Tabulate the radial frequencies of `rfft2`, cycles a pixel; infinite for the mean."""
    across = scipy.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    down = scipy.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    frequency: Field2D = np.hypot(down, across)
    frequency[0, 0] = np.inf
    return frequency


def _band(relative_frequency: Field2D) -> Field2D:
    amplitude: Field2D = np.exp(-1.2 * np.log(relative_frequency) ** 2)
    return amplitude


def _filter_noise(shape: tuple[int, int], amplitude: Field2D, rng: np.random.Generator) -> Field2D:
    spectrum = scipy.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    noise = scipy.fft.irfft2(spectrum * amplitude, s=shape)
    field: Field2D = noise / noise.std()
    return field


def _ridges(field: Field2D, width: float) -> Field2D:
    """Draw bright lines along the zero crossings of a field: the walls of its cells."""
    lines: Field2D = np.exp(-((field / width) ** 2))
    return lines


def _sigmoid(value: Field2D) -> Field2D:
    return 0.5 + 0.5 * np.tanh(value / 2)


def _frame_of(anatomy: Anatomy, params: PhantomParams) -> Frame:
    """Choose the part of the detector that the breast can reach, of a width that is fast to FFT."""
    spacing_mm = HEIGHT_MM / params.rows
    reach = math.ceil(1.1 * anatomy.depth_mm / spacing_mm + 12 / spacing_mm)
    return Frame(params.rows, min(scipy.fft.next_fast_len(reach, real=True), params.columns))


def _place(layer: np.ndarray, laterality: str, columns: int) -> np.ndarray:
    """Pad with air to the detector's width and turn, so that right breasts lie at the right."""
    layer = np.pad(layer, ((0, 0), (0, columns - layer.shape[1])))
    return np.ascontiguousarray(layer[:, ::-1]) if laterality == "R" else layer


def _outline(
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


def _pectoral(frame: Frame, rng: np.random.Generator) -> Field2D:
    """Draw the pectoral muscle of an MLO view: a soft-edged wedge in the upper corner, 0 to 1."""
    across_mm, down_mm = rng.uniform(40, 65), rng.uniform(105, 165)
    bulge = rng.uniform(-0.05, 0.12) * np.sin(np.pi * np.clip(frame.y / down_mm, 0, 1))
    inward_mm = (1 + bulge - frame.x / across_mm - frame.y / down_mm) * across_mm
    return _sigmoid(inward_mm / 0.8)


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
