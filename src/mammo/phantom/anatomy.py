"""The anatomy of one patient, drawn by lot."""

from dataclasses import dataclass

import numpy as np

from mammo.phantom.frame import HEIGHT_MM
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import PlannedImage


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
