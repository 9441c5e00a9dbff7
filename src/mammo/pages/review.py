"""The review: one page to look at images, answers, maps and doubtful labels; it opens offline."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mammo.pages.params import ReviewParams
from mammo.pages.style import STYLE
from mammo.storage.cells import neutralised
from mammo.storage.files import write_table, write_text

_TEMPLATE = Path(__file__).with_name("review.html")
_MAP_PX = 28
_TEXTS = (
    "key", "patient", "laterality", "view", "split", "maker", "label", "answer", "set", "source",
    "unfamiliar", "suggested",
)  # fmt: skip
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Reviewed:
    """What the page shows; `rows`, `pictures` and `maps` run in step.

    Attributes:
        strategy: Its name.
        classes: The K class names.
        rows: Columns key, patient, laterality, view, split, maker, label, answer, set (classes of
            the prediction set, or ''), source (where the probabilities come from), unfamiliar
            (reasons, or ''), suggested (another label, or ''), quality (of the label, 0 to 1),
            probability_<class> and cross_fitted_<class>.
        pictures: (n, size, size) uint8 or uint16.
        maps: (n, h, w) floats, positive where a position speaks for the answer; zeros, or None,
            for no map.
        map_note: What the maps show.
        corrections: Those made before: columns key, old, new, who, when.
    """

    strategy: str
    classes: Sequence[str]
    rows: pd.DataFrame
    pictures: np.ndarray
    maps: np.ndarray | None
    map_note: str
    corrections: pd.DataFrame


def choose(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Keep the rows that a page can hold: doubtful labels first, then test, val and train.

    A patient's images stay together, so that the other views are there.
    """
    urgency = rows["split"].map({"test": 1, "val": 2, "train": 3})
    urgency = urgency.where(rows["suggested"] == "", 0)
    first = urgency.groupby(rows["patient"]).transform("min")
    order = rows.assign(_first=first).sort_values(["_first", "patient", "key"], kind="stable")
    return order.drop(columns="_first").head(limit).sort_values("key")


def write_review(reviewed: Reviewed, total: int, params: ReviewParams, folder: Path) -> None:
    """Write index.html, and labels.csv with the labels to check, into a folder.

    Args:
        reviewed: What is shown.
        total: How many images there are; the page says how many it leaves out.
        params: Section `review`.
        folder: An existing folder.
    """
    data = _data(reviewed, total, params)
    # `</script>` in a value would end the script.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = _TEMPLATE.read_text(encoding="utf-8").replace("/*STYLE*/", STYLE)
    title = f"<title>Review of {html.escape(reviewed.strategy)}</title>"
    page = page.replace("<title>Review</title>", title)
    write_text(page.replace("/*DATA*/", text), folder / "index.html")
    given = dict(zip(reviewed.corrections["key"], reviewed.corrections["old"], strict=True))
    labels = suggestions(reviewed.rows, reviewed.classes, given)
    write_table(neutralised(labels), folder / "labels.csv")


def suggestions(
    rows: pd.DataFrame, classes: Sequence[str], given: Mapping[str, str]
) -> pd.DataFrame:
    """List the labels to check, most doubtful first; `new`, `who` and `when` are the reader's.

    Args:
        rows: As in `Reviewed`.
        classes: The K class names.
        given: The table's label of each image that was corrected before: a correction names that.
    """
    doubtful = rows[rows["suggested"] != ""].sort_values(["quality", "key"])
    number = {label: k for k, label in enumerate(classes)}
    probabilities = doubtful[[f"cross_fitted_{c}" for c in classes]].to_numpy(dtype=np.float64)
    picked = [
        [row[number[label]] for row, label in zip(probabilities, doubtful[column], strict=True)]
        for column in ("label", "suggested")
    ]
    return pd.DataFrame(
        {
            "key": doubtful["key"],
            "old": [
                given.get(key, label)
                for key, label in zip(doubtful["key"], doubtful["label"], strict=True)
            ],
            "new": "",
            "who": "",
            "when": "",
            "label": doubtful["label"],
            "suggested": doubtful["suggested"],
            "quality": doubtful["quality"],
            "probability_label": picked[0],
            "probability_suggested": picked[1],
        }
    )


def _data(reviewed: Reviewed, total: int, params: ReviewParams) -> dict[str, Any]:
    rows = reviewed.rows
    left_out = total - len(rows)
    about = [f"{len(rows)} images of {rows['patient'].nunique()} patients"]
    if left_out:
        about.append(f"{left_out} more are left out (review.max_images)")
    about.append("pictures of patients: never pushed, not for clinical use")
    return {
        "strategy": reviewed.strategy,
        "about": "; ".join(about),
        "classes": list(reviewed.classes),
        "splits": [split for split in _SPLITS if (rows["split"] == split).any()],
        "makers": sorted(set(rows["maker"])),
        "map_px": _MAP_PX,
        "map_note": reviewed.map_note,
        "corrections": reviewed.corrections.to_dict(orient="records"),
        "images": [
            _image(row, reviewed, position, params)
            for position, (_, row) in enumerate(rows.iterrows())
        ],
    }


def _image(
    row: "pd.Series[Any]", reviewed: Reviewed, position: int, params: ReviewParams
) -> dict[str, Any]:
    shown: dict[str, Any] = {name: str(row[name]) for name in _TEXTS}
    shown["quality"] = round(float(row["quality"]), 4)
    shown["probabilities"] = [round(float(row[f"probability_{c}"]), 4) for c in reviewed.classes]
    shown["jpeg"] = _jpeg(reviewed.pictures[position], params.picture_px)
    values = None if reviewed.maps is None else reviewed.maps[position]
    shown["map"] = encode_map(values) if values is not None and values.any() else ""
    return shown


def _jpeg(picture: np.ndarray, size_px: int) -> str:
    grey = (picture >> 8).astype(np.uint8) if picture.dtype == np.uint16 else picture
    image = Image.fromarray(grey)
    if image.width > size_px:
        image = image.resize((size_px, size_px), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def encode_map(values: np.ndarray) -> str:
    """Write a map as _MAP_PX x _MAP_PX signed bytes, the strongest position at 127: base64."""
    image = Image.fromarray(values.astype(np.float32), mode="F")
    small = np.asarray(image.resize((_MAP_PX, _MAP_PX), Image.Resampling.BILINEAR))
    strongest = float(np.abs(small).max())
    scaled = np.rint(127 * small / strongest) if strongest > 0 else np.zeros_like(small)
    return base64.b64encode(scaled.astype(np.int8).tobytes()).decode()
