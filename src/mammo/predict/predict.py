"""Answer new mammograms with a bundle: files -> tables of answers, whole or not at all.

OUT gets predictions.csv (an image a row), breasts.csv, patients.csv, quarantine.csv and run.json;
on request maps/ with explanations and dicom/ with DICOM objects. OUT/.work keeps prepared images
and answers, so that a second run does what is missing; it may be deleted.
"""

import logging
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mammo.dicom import codecs
from mammo.network.devices import Devices
from mammo.predict.answers import Answers, answer
from mammo.predict.bundle import Bundle
from mammo.predict.conformal import thresholds_of
from mammo.predict.intake import Sources, take_in
from mammo.predict.out_folder import WORK
from mammo.predict.tables import (
    Predicted,
    Request,
    image_table,
    level_table,
    quarantine_table,
)
from mammo.storage.cells import neutralised
from mammo.storage.digests import code_sha256, digest
from mammo.storage.files import write_json, write_table
from mammo.storage.scratch import Store

logger = logging.getLogger(__name__)

# What answers depend on; the bundle's id stands for all that it holds.
_CODE = (
    "mammo.dicom", "mammo.embedding", "mammo.evaluation", "mammo.network", "mammo.predict",
    "mammo.preprocess",
)  # fmt: skip
CHUNK = 256  # images answered and kept at once: an interrupted run loses at most these


@contextmanager
def predicted(
    bundle: Bundle, sources: Sources, out: Path, secret: bytes, devices: Devices
) -> Iterator[Predicted]:
    """Answer files, from what an earlier run has kept where it has; tensors last for the block.

    Args:
        bundle: The model.
        sources: The files.
        out: The folder of results, whose .work keeps what can be used again.
        secret: Under which keys are made.
        devices: Device and processes.
    """
    work = out / WORK
    tensors = work / "tensors"
    shutil.rmtree(tensors, ignore_errors=True)
    tensors.mkdir(parents=True)
    try:
        intake = take_in(
            sources, bundle.ingest, bundle.preprocess, bundle.limits, secret,
            Store(work / "images"), tensors,
        )  # fmt: skip
        answers = _answers(bundle, intake.files, tensors, Store(work / "answers"), devices)
        yield Predicted(bundle, intake, answers, tensors)
    finally:
        shutil.rmtree(tensors, ignore_errors=True)


def _answers(
    bundle: Bundle, files: pd.DataFrame, tensors: Path, store: Store, devices: Devices
) -> Answers:
    """Answer what no earlier run has answered: a row of probabilities and the distance each."""
    code = code_sha256(*_CODE)
    entries = [
        digest([code, bundle.id, row["sha256"], row["transfer_syntax_uid"], row["laterality"]])
        for _, row in files.iterrows()
    ]
    kept = {entry: store.get(entry) for entry in entries}
    missing = [
        (key, entry) for key, entry in zip(files["key"], entries, strict=True)
        if kept[entry] is None
    ]  # fmt: skip
    with tqdm(total=len(missing), desc="predict", unit="image", disable=None) as progress:
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            found = answer(bundle, tensors, [key for key, _ in part], devices)
            for number, (_, entry) in enumerate(part):
                row = np.append(found.probabilities[number], found.distances[number])
                store.put(entry, row)
                kept[entry] = row
            progress.update(len(part))
    width = len(bundle.classes) + 1
    table = np.array([kept[entry] for entry in entries], dtype=np.float64).reshape(-1, width)
    return Answers(table[:, :-1], table[:, -1])


def write_answers(run: Predicted, request: Request, folder: Path) -> pd.DataFrame:
    """Write the tables and run.json into a folder; return the table of images.

    Names come from outside, so the tables as written are `neutralised`; what is returned isn't.
    """
    images = image_table(run, request)
    write_table(neutralised(images), folder / "predictions.csv")
    for level in ("breast", "patient"):
        name = "breasts.csv" if level == "breast" else "patients.csv"
        write_table(neutralised(level_table(run, request, level)), folder / name)
    quarantine = quarantine_table(run.intake.quarantine, request)
    write_table(neutralised(quarantine), folder / "quarantine.csv")
    write_json(_run_facts(run, request, images, quarantine), folder / "run.json")
    return images


def _run_facts(
    run: Predicted, request: Request, images: pd.DataFrame, quarantine: pd.DataFrame
) -> dict[str, Any]:
    bundle = run.bundle
    thresholds = thresholds_of(bundle.scores, request.coverage)
    reasons = quarantine["reason"].value_counts().sort_index()
    return {
        "bundle": bundle.id,
        "strategy": bundle.name,
        "decision": bundle.rule,
        "prior": bundle.evaluate.prior,
        "temperature": bundle.temperature,
        "coverage": request.coverage,
        "classes_with_the_pooled_threshold": thresholds.pooled,
        "identifiers": request.identifiers,
        "images": len(images),
        "patients": int(images["patient"].nunique()),
        "answers": {name: int((images["answer"] == name).sum()) for name in bundle.classes},
        "unfamiliar": int((images["unfamiliar"] != "").sum()),
        "quarantined": {str(reason): int(count) for reason, count in reasons.items()},
        "versions": {
            "mammo": version("mammo") if _installed() else "not installed",
            "python": platform.python_version(),
            "torch": version("torch"),
            **codecs.versions(),
        },
    }


def _installed() -> bool:
    try:
        version("mammo")
    except ModuleNotFoundError:  # run from a checkout by PYTHONPATH
        return False
    return True
