"""The tables of a run: images, breasts, patients, and what was turned away."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from mammo.comparison.calibration import apply_temperature
from mammo.evaluation.decision import decide
from mammo.evaluation.levels import of_denser_breast
from mammo.ingest.keys import image_key, patient_key
from mammo.predict.answers import Answers
from mammo.predict.bundle import Bundle
from mammo.predict.conformal import prediction_sets, set_names, thresholds_of
from mammo.predict.familiarity import unfamiliar
from mammo.predict.intake import Intake

Identifiers = Literal["keep", "hash"]


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


def quarantine_table(quarantine: pd.DataFrame, request: Request) -> pd.DataFrame:
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
