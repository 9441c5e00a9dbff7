"""What a run adds on request: pictures with maps, and DICOM objects."""

import html
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from pydicom.dataset import Dataset
from tqdm import tqdm

from mammo.errors import UserError
from mammo.evaluation.decision import decide
from mammo.pages.style import STYLE
from mammo.predict.bundle import Bundle
from mammo.predict.dicom_objects import (
    Finding,
    Model,
    read_evidence,
    save,
    secondary_capture,
    structured_report,
    uid_of,
)
from mammo.predict.explain import Maps, explain, overlay
from mammo.predict.intake import Sources
from mammo.predict.tables import Predicted, Request, level_table
from mammo.storage.files import write_text
from mammo.storage.tensors import Tensors

_GRID = """
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 380px), 1fr));
  gap: 16px; }
.maps figure { margin: 0; } .maps figcaption { overflow-wrap: anywhere; }
"""
_BREASTS = {"L": "left breast", "R": "right breast"}


def draw_maps(run: Predicted) -> tuple[Maps, list[np.ndarray], list[str]]:
    """Draw each image beside its map: the maps, the pictures, their titles."""
    keys = list(run.files["key"])
    maps = explain(run.bundle, run.tensors, keys, run.answers.decided(run.bundle))
    images = Tensors(run.tensors)
    titles = titles_of(run)
    pixels = images.gather(images.positions(keys))
    pictures = [
        overlay(tensor, values, title)
        for tensor, values, title in zip(pixels, maps.values, titles, strict=True)
    ]
    return maps, pictures, titles


def titles_of(run: Predicted) -> list[str]:
    """Write class and probability of each image's answer."""
    answers = run.answers.decided(run.bundle)
    shares = run.answers.probabilities[
        np.arange(len(answers)), [run.bundle.classes.index(a) for a in answers]
    ]
    return [
        f"{answer}, probability {share:.2f}" for answer, share in zip(answers, shares, strict=True)
    ]


def write_maps(
    run: Predicted, images: pd.DataFrame, maps: Maps, pictures: list[np.ndarray], folder: Path
) -> None:
    """Write maps/<key>.png and a page of them all.

    Args:
        run: What was answered.
        images: The table of images, which names files as asked for.
        maps: Their note goes on the page.
        pictures: In the order of the run's files.
        folder: Takes the folder `maps`.
    """
    target = folder / "maps"
    target.mkdir()
    names = dict(zip(run.files["path"], run.files["key"], strict=True))
    names |= {key: key for key in run.files["key"]}  # where files are named by their keys
    for key, picture in zip(run.files["key"], pictures, strict=True):
        Image.fromarray(picture).save(target / f"{key}.png")
    rows = "\n".join(
        f"<figure><img src='{names[row['file']]}.png' alt='' style='max-width:100%'>"
        f"<figcaption>{html.escape(row['file'])}: {row['laterality']} {row['view']}, set "
        f"{html.escape(row['set'])} {html.escape(row['unfamiliar'])}</figcaption></figure>"
        for _, row in images.iterrows()
    )
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>Maps</title><style>{STYLE}{_GRID}</style><main>"
        f"<h1>Where the network looks</h1><p>{html.escape(maps.note)}</p><p>Left the mammogram as "
        "it was prepared, right with its map. Not for clinical use.</p>"
        f"<div class=maps>{rows}</div></main></html>\n"
    )
    write_text(page, target / "index.html")


def model_of(bundle: Bundle) -> Model:
    """Describe the bundle as the device that observes."""
    try:
        release = version("mammo")
    except PackageNotFoundError:
        release = "unknown"
    name = f"mammo {bundle.name}"
    return Model(name, f"{release} {bundle.id[:12]}", "mammo", bundle.id, bundle.rule)


def write_reports(run: Predicted, request: Request, sources: Sources, folder: Path) -> int:
    """Write one Structured Report a study; return how many.

    Raises:
        UserError: An image is no DICOM file or names no study.
    """
    target = folder / "dicom"
    target.mkdir(exist_ok=True)
    levels = [level_table(run, request, level) for level in ("breast", "patient")]
    studies = run.files.groupby("study_instance_uid", sort=True)
    for uid, rows in tqdm(studies, desc="report", unit="study", disable=None):
        findings = [
            _finding(answer, rows)
            for table in levels
            for _, answer in table[table["study"] == uid].iterrows()
        ]
        findings += _of_images(run, rows)
        report = structured_report(_evidence(rows, sources), findings, model_of(run.bundle))
        save(report, target / f"report-{uid_of(str(uid))}.dcm")
    return len(studies)


def _finding(answer: "pd.Series[Any]", rows: pd.DataFrame) -> Finding:
    """State the answer on a breast, or on a patient where it names no side."""
    side = str(answer.get("laterality", ""))
    of = rows[rows["laterality"] == side] if side else rows
    seen = [_BREASTS[one] for one in sorted(set(of["laterality"]))]
    name = seen[0] if side else "both breasts" if len(seen) > 1 else f"patient, {seen[0]} alone"
    share = float(answer[f"probability_{answer['answer']}"])
    return Finding(name, side, str(answer["answer"]), share, _uids(of))


def _of_images(run: Predicted, rows: pd.DataFrame) -> list[Finding]:
    found = []
    places = run.files.index.get_indexer(rows.index)
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        shares = run.answers.probabilities[[place]]
        number = int(decide(shares, run.bundle.rule)[0])
        name = f"{row['laterality']} {row['view']} {row['key']}"
        side, answer = row["laterality"], run.bundle.classes[number]
        source = _uids(pd.DataFrame([row]))
        found.append(Finding(name, side, answer, float(shares[0, number]), source))
    return found


def write_captures(
    run: Predicted, sources: Sources, pictures: list[np.ndarray], titles: list[str], folder: Path
) -> None:
    """Write each picture with its map as a Secondary Capture."""
    target = folder / "dicom"
    target.mkdir(exist_ok=True)
    for (_, row), picture, title in zip(run.files.iterrows(), pictures, titles, strict=True):
        evidence = _evidence(pd.DataFrame([row]), sources)[0]
        capture = secondary_capture(picture, evidence, title, model_of(run.bundle))
        save(capture, target / f"map-{row['key']}.dcm")


def _evidence(rows: pd.DataFrame, sources: Sources) -> list[Dataset]:
    """Read the headers of images.

    Raises:
        UserError: One is a picture.
    """
    pictures = rows[rows["sop_class_uid"] == ""]
    if len(pictures):
        raise UserError(
            f"{pictures['path'].iloc[0]}: --dicom-sr and --dicom-sc need DICOM files, got "
            f"{pictures['transfer_syntax_uid'].iloc[0]}; leave them out"
        )
    return [read_evidence(sources.root / path) for path in rows["path"]]


def _uids(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["sop_class_uid"], rows["sop_instance_uid"], strict=True))
