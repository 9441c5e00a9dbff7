"""The pictures of the collapse study: small phantoms, without the detour over DICOM files.

They are exposed as the phantom's files are, and pass the grey scale, crop and resizing of stage
`preprocess`. Who is tested is drawn apart, from another seed: the same patients for every row.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from mammo.dicom.greyscale import GreyScale, Window
from mammo.params import Params, load_leaf, parse_params
from mammo.phantom.dicom_writer import choose_unit, expose
from mammo.phantom.drawing import draw_picture
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import PlannedImage, plan_images
from mammo.preprocess.image import prepare
from mammo.preprocess.params import PreprocessParams
from mammo.storage.files import write_table
from mammo.storage.tensors import write_shards

SHARD_BYTES = 2**24


class HeldOutParams(Params):
    """Section `held_out`: what of the phantom is different for the patients who are tested."""

    seed: Annotated[int, Field(ge=0)]
    images: Annotated[int, Field(gt=0)]


class PicturesParams(Params):
    """Sections `phantom`, `held_out` and `preprocess` of the study."""

    phantom: PhantomParams
    held_out: HeldOutParams
    preprocess: PreprocessParams

    @model_validator(mode="after")
    def _others_are_tested(self) -> "PicturesParams":
        if self.held_out.seed == self.phantom.seed:
            raise ValueError(
                f"held_out.seed must differ from phantom.seed, got {self.held_out.seed} for both: "
                "the patients who train would be tested"
            )
        return self

    def parts(self) -> dict[str, PhantomParams]:
        """Give the phantom of each part: `train` (val is drawn from it later) and `test`."""
        held_out = {**self.phantom.model_dump(), **self.held_out.model_dump()}
        return {"test": PhantomParams.model_validate(held_out), "train": self.phantom}


def load_pictures(study: Path) -> PicturesParams:
    """Load the sections that the pictures depend on."""
    sections = ("phantom", "held_out", "preprocess")
    values = {name: load_leaf(name, dict[str, Any], study) for name in sections}
    return parse_params("pictures", values, PicturesParams, study)


def write_pictures(folder: Path, params: PicturesParams) -> None:
    """Draw the pictures into an existing folder: shards, and `plan.csv`."""
    table = plan_table(params)
    write_shards(draw_tensors(params), list(table["key"]), folder, SHARD_BYTES)
    write_table(table, folder / "plan.csv")


def plan_table(params: PicturesParams) -> pd.DataFrame:
    """List the images: columns key, patient, label, published_split; sorted by key."""
    rows = [
        (_key(part, image), f"{part}-{image.patient_id}", image.density, part)
        for part, phantom in params.parts().items()
        for image in plan_images(phantom)
    ]
    table = pd.DataFrame(rows, columns=["key", "patient", "label", "published_split"])
    return table.sort_values("key", ignore_index=True)


def draw_tensors(params: PicturesParams) -> Iterator[np.ndarray]:
    """Draw the images in the order of `plan_table`: (size_px, size_px) each."""
    planned = {
        _key(part, image): (image, phantom)
        for part, phantom in params.parts().items()
        for image in plan_images(phantom)
    }
    for key in sorted(planned):
        yield draw_tensor(*planned[key], params.preprocess)


def draw_tensor(
    image: PlannedImage, phantom: PhantomParams, preprocess: PreprocessParams
) -> np.ndarray:
    """Draw one image, expose it, and prepare it as stage `preprocess` does a file."""
    unit = choose_unit(image.patient)
    exposure = expose(draw_picture(image, phantom), image, unit, phantom)
    grey = GreyScale(
        lowest=0,
        highest=2**unit.bits_stored - 1,
        inverted=unit.photometric_interpretation == "MONOCHROME1",
        slope=1.0,
        intercept=0.0,
        modality_lut=None,
        voi_luts=(),
        windows=(Window(exposure.window_center, exposure.window_width),),
        function=unit.voi_lut_function or "LINEAR",
        padding=None,
    )
    return prepare(exposure.pixels, grey, preprocess).tensor


def _key(part: str, image: PlannedImage) -> str:
    return f"{part}-{image.patient_id}-{image.laterality}-{image.view}"
