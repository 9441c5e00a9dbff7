"""Put the bench of the collapse study together: params, pictures, weights, workers."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from joblib import Parallel, delayed

from mammo.embedding.params import AugmentParams
from mammo.errors import UserError
from mammo.evaluation.params import CollapseParams
from mammo.network.compute import start
from mammo.network.params import BackboneParams, ComputeParams
from mammo.params import load_leaf, load_params, parse_params
from mammo.storage.files import read_table
from mammo.storage.tensors import Tensors
from studies.collapse.ladder.pictures import PicturesParams, load_pictures
from studies.collapse.ladder.rows import Bench, CommonParams, RowParams, run_row

WORKERS = 2  # processes of one thread each: a batch of 2 leaves nothing for a second thread


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
        backbone=load_params("backbone", BackboneParams, pipeline),
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
