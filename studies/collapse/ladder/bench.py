"""Put the bench of the collapse study together: params, pictures, pretrained weights, workers.

The reduced ladder, by which a test checks the bands in a minute, is the same on a smaller bench.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from joblib import Parallel, delayed
from pydantic import Field

from mammo.embedding.params import AugmentParams
from mammo.errors import UserError
from mammo.evaluation.params import CollapseParams
from mammo.network.compute import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.network.textures import pretrain
from mammo.network.weights import save_backbone
from mammo.params import Params, load_leaf, load_params, parse_params
from mammo.phantom.params import PhantomParams
from mammo.storage.files import read_table
from mammo.storage.tensors import Tensors
from studies.collapse.ladder.pictures import PicturesParams, load_pictures, write_pictures
from studies.collapse.ladder.rows import Bench, CommonParams, RowParams, run_row

WORKERS = 2  # processes of one thread each: a batch of 2 leaves nothing for a second thread


class ReducedParams(Params):
    """Section `reduced`: what of the ladder is smaller in the test."""

    rows: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1)]
    images: Annotated[int, Field(gt=0)]
    held_out_images: Annotated[int, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    pretraining_steps: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Sections:
    """The study's params file, and the pipeline's section `collapse`: the detector on trial."""

    rows: dict[str, RowParams]
    seeds: int
    pictures: PicturesParams
    backbone: BackboneParams
    common: CommonParams
    augment: AugmentParams
    compute: ComputeParams
    collapse: CollapseParams


def load_sections(study: Path, pipeline: Path) -> Sections:
    """Load all that a run depends on.

    Raises:
        UserError: A key is missing, unknown or out of range; the message names it.
    """
    rows = load_leaf("rows", dict[str, dict[str, Any]], study)
    # An alarm must not end a run: what comes after it is what the alarm is judged by.
    collapse = load_params("collapse", CollapseParams, pipeline)
    return Sections(
        rows={k: parse_params(f"rows.{k}", row, RowParams, study) for k, row in rows.items()},
        seeds=load_leaf("seeds", int, study),
        pictures=load_pictures(study),
        backbone=load_params("backbone", BackboneParams, study),
        common=load_params("common", CommonParams, study),
        augment=load_params("augment", AugmentParams, study),
        compute=load_params("compute", ComputeParams, study),
        collapse=collapse.model_copy(update={"action": "warn"}),
    )


def run_rows(
    names: list[str], seeds: int, pictures: Path, weights: Path, sections: Sections
) -> pd.DataFrame:
    """Run rows with the seeds from 0: the records of `run_row`, one row an epoch of a run.

    Runs are spread over processes; what comes back doesn't depend on how many there are.

    Raises:
        UserError: There is no row of that name.
    """
    unknown = [name for name in names if name not in sections.rows]
    if unknown:
        raise UserError(f"rows: there is no {unknown[0]}; there are {', '.join(sections.rows)}")
    jobs = (
        delayed(_run)(name, seed, pictures, weights, sections)
        for name in names
        for seed in range(seeds)
    )
    return pd.DataFrame(chain.from_iterable(Parallel(n_jobs=WORKERS)(jobs)))


def _run(
    name: str, seed: int, pictures: Path, weights: Path, sections: Sections
) -> list[dict[str, Any]]:
    bench = Bench(
        Tensors(pictures), read_table(pictures / "plan.csv"), weights, sections.backbone,
        sections.common, sections.augment, sections.collapse, start(sections.compute),
    )  # fmt: skip
    return run_row(name, sections.rows[name], seed, bench)


def reduced_ladder(folder: Path, sections: Sections, params: ReducedParams) -> pd.DataFrame:
    """Run the reduced ladder in an existing, empty folder, pictures and pretraining included."""
    phantom, held_out = sections.pictures.phantom, sections.pictures.held_out
    pictures = sections.pictures.model_copy(
        update={
            "phantom": PhantomParams.model_validate(
                {**phantom.model_dump(), "images": params.images}
            ),
            "held_out": held_out.model_copy(update={"images": params.held_out_images}),
        }
    )
    budget = sections.backbone.procedural.model_copy(update={"steps": params.pretraining_steps})
    backbone = sections.backbone.model_copy(update={"procedural": budget})
    rows = {
        name: row.model_copy(update={"epochs": params.epochs})
        for name, row in sections.rows.items()
    }
    write_pictures(folder, pictures)
    weights = folder / "backbone.safetensors"
    save_backbone(pretrain(backbone, start(sections.compute)), weights)
    smaller = Sections(
        rows, params.seeds, pictures, backbone, sections.common, sections.augment,
        sections.compute, sections.collapse,
    )  # fmt: skip
    return run_rows(params.rows, params.seeds, folder, weights, smaller)
