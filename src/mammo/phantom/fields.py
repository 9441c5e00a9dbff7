"""Fields over the pixel grid: random ones, and the textures of one picture made of them."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft

from mammo.phantom.frame import Frame
from mammo.phantom.params import PhantomParams

Field2D = np.ndarray  # float32; (H, W), or (H, 1) and (1, W) where it varies one way only


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


def draw_textures(
    frame: Frame, nipple: tuple[float, float], params: PhantomParams, rng: np.random.Generator
) -> Textures:
    """Draw all random fields of one picture."""
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


def sigmoid(value: Field2D) -> Field2D:
    """Rise from 0 to 1 about 0: a soft edge."""
    return 0.5 + 0.5 * np.tanh(value / 2)
