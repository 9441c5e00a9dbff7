"""Put together what the review page shows: answers, maps, doubtful and unfamiliar images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.datasets.label_tables import read_label_table
from mammo.evaluation.decision import decide
from mammo.ingest.corrections import COLUMNS, count
from mammo.network.devices import Devices
from mammo.pages.doubts import doubtful_labels
from mammo.pages.params import ReviewParams
from mammo.pages.review import Reviewed, choose
from mammo.predict.bundle import Bundle
from mammo.predict.conformal import prediction_sets, set_names, thresholds_of
from mammo.predict.cross_fitting import CrossFitted, Stored, cross_fit_all
from mammo.predict.explain import explain
from mammo.predict.familiarity import unfamiliar
from mammo.predict.intake import grey_scales
from mammo.predict.making import features_of
from mammo.storage.cells import restored
from mammo.storage.tensors import Tensors
from mammo.training.problem import Solving

_REFITTED = "a head of train alone: the deployed one has learned from these"


@dataclass(frozen=True)
class Tables:
    """What the page is about.

    Attributes:
        cases: Columns key, patient, laterality, view, label, split.
        files: data/files.csv.
        predictions: plots/evaluation/S/predictions.csv.
        corrections: Columns key, old, new, who, when.
    """

    cases: pd.DataFrame
    files: pd.DataFrame
    predictions: pd.DataFrame
    corrections: pd.DataFrame


def review(
    bundle: Bundle,
    solving: Solving,
    tables: Tables,
    stored: Stored,
    params: ReviewParams,
    devices: Devices,
) -> Reviewed:
    """Gather the rows of the page, the pictures and the maps.

    Test shows the deployed network's answers, and so does val, unless the head was fitted on it:
    then val was answered by a head of train alone. Of train, from which all have learned, the
    answers are cross-fitted, as are those that doubt a label, in every split.

    Args:
        bundle: Of the reported strategy.
        solving: How heads are solved, to cross-fit them.
        tables: What the page is about.
        stored: Embeddings and tensors.
        params: How much the page holds.
        devices: Device and processes.
    """
    cases = tables.cases.sort_values("key", ignore_index=True)
    fitted = cross_fit_all(bundle.members, solving, stored, cases, bundle.evaluate.prior)
    rows = _answered(bundle, cases, fitted, tables.predictions)
    doubts = doubtful_labels(fitted.labels, fitted.probabilities, bundle.classes)
    rows["suggested"], rows["quality"] = doubts["suggested"], doubts["quality"]
    about = tables.files[["key", "manufacturer", "rows", "columns"]]
    rows = rows.merge(about, on="key", validate="one_to_one")
    rows = rows.merge(grey_scales(stored.tensors), on="key", validate="one_to_one")
    rows["maker"] = rows["manufacturer"].replace("", "not stated")
    rows = choose(rows, params.max_images).reset_index(drop=True)
    rows["unfamiliar"] = _strangeness(bundle, rows, stored, devices)
    keys = list(rows["key"])
    # Train images that nobody doubts go without a map: it costs more than their answer.
    shown = rows[(rows["split"] != "train") | (rows["suggested"] != "")]
    maps = explain(bundle, stored.tensors, list(shown["key"]), list(shown["answer"]))
    values = np.zeros((len(rows), *maps.values.shape[1:]), dtype=np.float32)
    values[shown.index] = maps.values
    images = Tensors(stored.tensors)
    return Reviewed(
        strategy=bundle.name,
        classes=bundle.classes,
        rows=rows,
        pictures=images.gather(images.positions(keys)),
        maps=values,
        map_note=maps.note,
        corrections=tables.corrections,
    )


def _answered(
    bundle: Bundle, cases: pd.DataFrame, fitted: CrossFitted, predictions: pd.DataFrame
) -> pd.DataFrame:
    """Give each case its probabilities, its answer and its prediction set."""
    columns = [f"probability_{name}" for name in bundle.classes]
    rows = cases.copy()
    for k, name in enumerate(bundle.classes):
        rows[f"cross_fitted_{name}"] = fitted.probabilities[:, k]
    deployed = predictions.set_index("key")[columns].reindex(rows["key"])
    there = deployed.notna().all(axis=1).to_numpy()
    probabilities = np.where(there[:, None], deployed.to_numpy(), fitted.probabilities)
    rows[columns] = probabilities
    refitted = any("val" in model.facts["fitted_on"] for model in bundle.members)
    sources = {"val": _REFITTED} if refitted else {}
    written = rows["split"].map(sources).fillna("the deployed network")
    rows["source"] = np.where(there, written, "cross-fitted: it learned from these")
    rows["answer"] = [bundle.classes[k] for k in decide(probabilities, bundle.rule)]
    coverage = bundle.facts["conformal"]["coverage"]
    inside = prediction_sets(probabilities, thresholds_of(bundle.scores, coverage), bundle.classes)
    rows["set"] = set_names(inside, bundle.classes)
    return rows


def _strangeness(bundle: Bundle, rows: pd.DataFrame, stored: Stored, devices: Devices) -> list[str]:
    """Say in what an image differs from the training images; these themselves differ in nothing."""
    model = bundle.members[0]
    others = rows[rows["split"] != "train"]
    found = dict.fromkeys(rows["key"], "")
    if len(others):
        keys = list(others["key"])
        features = features_of(model, stored, keys, bundle.evaluate, bundle.compute, devices)
        distances = bundle.familiarity.distance(features)
        for (_, row), distance in zip(others.iterrows(), distances, strict=True):
            strange = bundle.origin.strangeness(
                row["manufacturer"], row["voi"], int(row["rows"]), int(row["columns"])
            )
            threshold = bundle.familiarity.threshold
            found[row["key"]] = unfamiliar(strange, float(distance), threshold)
    return [found[key] for key in rows["key"]]


def read_corrections(path: Path) -> pd.DataFrame:
    """Read the corrections made so far: columns key, old, new, who, when; none is no error.

    As `ingest` reads them, so that what a spreadsheet saved isn't lost when the page saves all.
    The page and labels.csv are `neutralised`, so what a reader saves from them is.
    """
    made = read_label_table(path, COLUMNS) if path.is_file() and count(path) else []
    return restored(pd.DataFrame(made, columns=list(COLUMNS)))
