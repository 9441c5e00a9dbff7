"""Answer new mammograms with a bundle: files -> tables of answers, whole or not at all.

OUT gets predictions.csv (an image a row), breasts.csv, patients.csv, quarantine.csv and run.json;
on request maps/ with explanations and dicom/ with DICOM objects. OUT/.work keeps prepared images
and answers, so that a second run does what is missing; it may be deleted.
"""

import logging
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from lightning_fabric import Fabric
from tqdm import tqdm

from mammo.comparison.calibration import apply_temperature
from mammo.dicom import codecs
from mammo.errors import UserError
from mammo.evaluation.decision import decide
from mammo.evaluation.levels import of_denser_breast
from mammo.ingest.keys import image_key, patient_key
from mammo.predict.answers import Answers, answer
from mammo.predict.bundle import Bundle
from mammo.predict.conformal import prediction_sets, set_names, thresholds_of
from mammo.predict.familiarity import unfamiliar
from mammo.predict.intake import Intake, Sources, take_in
from mammo.storage.cells import neutralised
from mammo.storage.digests import digest
from mammo.storage.files import write_json, write_table
from mammo.storage.scratch import Store

logger = logging.getLogger(__name__)

Identifiers = Literal["keep", "hash"]
WORK = ".work"
CHUNK = 256  # images answered and kept at once: an interrupted run loses at most these


@dataclass(frozen=True)
class Request:
    """What a run is asked for.

    Attributes:
        coverage: Of the prediction sets.
        identifiers: `keep` paths, patients and studies as they are, or `hash` them.
        secret: Under which they are hashed.
    """

    coverage: float
    identifiers: Identifiers
    secret: bytes


@dataclass(frozen=True)
class Predicted:
    """Everything known of the images answered; rows of `files` and of `answers` run in step."""

    bundle: Bundle
    intake: Intake
    answers: Answers
    tensors: Path

    @property
    def files(self) -> pd.DataFrame:
        """The images answered."""
        return self.intake.files


@contextmanager
def predicted(
    bundle: Bundle, sources: Sources, out: Path, secret: bytes, fabric: Fabric
) -> Iterator[Predicted]:
    """Answer files, from what an earlier run has kept where it has; tensors last for the block.

    Args:
        bundle: The model.
        sources: The files.
        out: The folder of results, whose .work keeps what can be used again.
        secret: Under which keys are made.
        fabric: Device and processes.
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
        answers = _answers(bundle, intake.files, tensors, Store(work / "answers"), fabric)
        yield Predicted(bundle, intake, answers, tensors)
    finally:
        shutil.rmtree(tensors, ignore_errors=True)


def _answers(
    bundle: Bundle, files: pd.DataFrame, tensors: Path, store: Store, fabric: Fabric
) -> Answers:
    """Answer what no earlier run has answered: a row of probabilities and the distance each."""
    entries = [
        digest([bundle.id, row["sha256"], row["transfer_syntax_uid"], row["laterality"]])
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
            found = answer(bundle, tensors, [key for key, _ in part], fabric)
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
    quarantine = _quarantine(run.intake.quarantine, request)
    write_table(neutralised(quarantine), folder / "quarantine.csv")
    write_json(_run_facts(run, request, images, quarantine), folder / "run.json")
    return images


def image_table(run: Predicted, request: Request) -> pd.DataFrame:
    """Write the answers on images down, one row each, by path."""
    bundle, files, answers = run.bundle, run.files, run.answers
    thresholds = thresholds_of(bundle.scores, request.coverage)
    inside = prediction_sets(answers.probabilities, thresholds, bundle.classes)
    table = _identified(files, request)
    table["laterality"], table["view"] = files["laterality"], files["view"]
    for k, name in enumerate(bundle.classes):
        table[f"probability_{name}"] = answers.probabilities[:, k]
    calibrated = apply_temperature(answers.probabilities, bundle.temperature)
    for k, name in enumerate(bundle.classes):
        table[f"calibrated_{name}"] = calibrated[:, k]
    table["answer"] = answers.decided(bundle)  # of the probabilities that `evaluate` judges
    table["decision"] = bundle.rule
    table["set"] = set_names(inside, bundle.classes)
    table["unfamiliar"] = strangeness(bundle, files, answers)
    table["flags"] = files["flags"]
    return table.sort_values("file", ignore_index=True)


def strangeness(bundle: Bundle, files: pd.DataFrame, answers: Answers) -> list[str]:
    """Say of each image in what it differs from the training images; '' where it doesn't."""
    return [
        unfamiliar(
            bundle.origin.strangeness(
                row["manufacturer"], row["voi"], int(row["rows"]), int(row["columns"])
            ),
            float(distance),
            bundle.familiarity.threshold,
        )
        for (_, row), distance in zip(files.iterrows(), answers.distances, strict=True)
    ]


def level_table(run: Predicted, request: Request, level: str) -> pd.DataFrame:
    """Average probabilities over the views of each breast, or take a patient's as `evaluate` does.

    A study is answered by itself: two studies of one patient are two rows.
    """
    bundle = run.bundle
    columns = [f"probability_{name}" for name in bundle.classes]
    rows = pd.DataFrame(run.answers.probabilities, columns=columns)
    rows = pd.concat([_identified(run.files, request), run.files[["laterality"]], rows], axis=1)
    exam = ["patient", "study"]
    breasts = rows.groupby([*exam, "laterality"])[columns].mean()
    if level == "breast":
        probabilities = breasts
        counts = rows.groupby([*exam, "laterality"]).size()
    else:
        counts = rows.groupby(exam).size()
        probabilities = rows.groupby(exam)[columns].mean()
        if bundle.facts["patient_rule"] == "denser" and len(rows):
            probabilities = _denser(breasts)
    table = probabilities.reset_index()
    table["images"] = counts.to_numpy()
    answered = decide(probabilities.to_numpy().reshape(-1, len(columns)), bundle.rule)
    table["answer"] = [bundle.classes[k] for k in answered]
    table["decision"] = bundle.rule
    return table


def _denser(breasts: pd.DataFrame) -> pd.DataFrame:
    """Take each exam's denser breast: `of_denser_breast` with an exam in place of a patient."""
    flat = breasts.reset_index()
    exams = pd.MultiIndex.from_frame(flat[["patient", "study"]])
    number, known = pd.factorize(exams)
    columns = list(breasts.columns)
    index = pd.MultiIndex.from_arrays([number, flat["laterality"]], names=["patient", "laterality"])
    chosen = of_denser_breast(pd.DataFrame(flat[columns].to_numpy(), index, columns))
    return chosen.set_axis(
        pd.MultiIndex.from_tuples(known, names=["patient", "study"])[chosen.index]
    )


def _identified(files: pd.DataFrame, request: Request) -> pd.DataFrame:
    """Name file, patient and study as asked for."""
    if request.identifiers == "keep":
        names = {"file": "path", "patient": "patient_id", "study": "study_instance_uid"}
        return pd.DataFrame({name: files[column] for name, column in names.items()})
    studies = [patient_key(request.secret, f"study {uid}") for uid in files["study_instance_uid"]]
    return pd.DataFrame({"file": files["key"], "patient": files["patient"], "study": studies})


def _quarantine(quarantine: pd.DataFrame, request: Request) -> pd.DataFrame:
    """Hide what identifies; the details name paths and tags, so they go with it."""
    table = pd.DataFrame(
        {
            "file": quarantine["path"],
            "patient": quarantine["patient_id"],
            "reason": quarantine["reason"],
            "detail": quarantine["detail"],
        }
    )
    if request.identifiers == "hash":
        table["file"] = [image_key(request.secret, path) for path in table["file"]]
        table["patient"] = [patient_key(request.secret, p) if p else "" for p in table["patient"]]
        table["detail"] = ""
    return table.sort_values(["file", "reason"], ignore_index=True)


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


_WRITTEN = {
    "predictions.csv", "breasts.csv", "patients.csv", "quarantine.csv", "run.json", "maps", "dicom",
    "metrics.json", "report.md",
}  # fmt: skip


@contextmanager
def results(out: Path) -> Iterator[Path]:
    """Yield an empty folder; its entries take the places of an earlier run's if the block succeeds.

    Raises:
        UserError: `out` holds something that isn't a run's.
    """
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / WORK / f"results.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        # run.json goes first and comes back last: while it is missing, the run isn't whole.
        for name in ("run.json", *sorted(_WRITTEN)):
            shutil.rmtree(out / name, ignore_errors=True)
            (out / name).unlink(missing_ok=True)
        for entry in sorted(partial.iterdir(), key=lambda entry: entry.name == "run.json"):
            entry.replace(out / entry.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_out(out: Path) -> None:
    """Refuse a folder that holds what no run wrote.

    Raises:
        UserError: Names it.
    """
    if out.is_file():
        raise UserError(f"{out}: --out must be a folder, got a file")
    strange = sorted(entry.name for entry in out.glob("*") if entry.name not in {WORK, *_WRITTEN})
    if strange:
        raise UserError(
            f"{out}: --out must be empty or a folder of an earlier run, got {strange[0]!r} in it"
        )
