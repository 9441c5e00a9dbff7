"""Count what ingest accepted, rejected and flagged."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from mammo.cohort.classes import CLASSES, ClassSet
from mammo.dicom import codecs, codestream
from mammo.ingest.groups import UNKNOWN, maker_of

_SPLITS = 3  # train, val and test


def summarise(
    files: pd.DataFrame,
    images: pd.DataFrame,
    labels: pd.DataFrame,
    quarantine: pd.DataFrame,
    classes: ClassSet,
    public: bool,
) -> dict[str, Any]:
    """Make metrics/ingest.json: counts only, no identifier and no path.

    Makers that aren't known by name count as other, unless the data are `public`: the header's
    text is free, and the file is tracked.
    """
    classified = images.merge(labels, on="key", validate="one_to_one")
    by_image = {name: int((classified["label"] == name).sum()) for name in CLASSES[classes]}
    by_patient = classified.groupby("label")["patient"].nunique()
    present = [count for count in by_image.values() if count]
    return {
        "accepted": len(files),
        "patients": int(images["patient"].nunique()),
        "rejected": _counts(quarantine["reason"]),
        "flagged": _counts(flag for flags in files["flags"] for flag in flags.split(";") if flag),
        "images_by_class": by_image,
        "patients_by_class": {name: int(by_patient.get(name, 0)) for name in CLASSES[classes]},
        "imbalance_ratio": round(max(present) / min(present), 4),
        "images_by_view": _counts(images["laterality"] + " " + images["view"]),
        "published_splits": _counts(split for split in images["published_split"] if split),
        "rows": {"min": int(files["rows"].min()), "max": int(files["rows"].max())},
        "columns": {"min": int(files["columns"].min()), "max": int(files["columns"].max())},
        "bits_stored": _counts(files["bits_stored"].astype(str)),
        "manufacturers": _counts(
            (name or UNKNOWN) if public else maker_of(name) for name in files["manufacturer"]
        ),
        "forms": _counts(PurePosixPath(path).suffix.lower() or "none" for path in files["path"]),
        "photometric_interpretations": _counts(files["photometric_interpretation"]),
        "pixel_intensity_relationships": _counts(
            name or "unknown" for name in files["pixel_intensity_relationship"]
        ),
        "transfer_syntaxes": _counts(files["transfer_syntax_uid"]),
        "decoders": codecs.versions(),
    }


def format_summary(metrics: dict[str, Any], quarantine: pd.DataFrame) -> str:
    """Lay out the metrics for the console, with one example of each reason."""
    images, patients = metrics["images_by_class"], metrics["patients_by_class"]
    classes = ", ".join(f"{name} {images[name]} ({patients[name]})" for name in images)
    lines = [
        f"accepted         {metrics['accepted']} images of {metrics['patients']} patients",
        f"classes          {classes} images (patients)",
        f"imbalance ratio  {metrics['imbalance_ratio']}",
        f"size in pixels   {_range(metrics['rows'])} rows, {_range(metrics['columns'])} columns",
        f"file names       {_listed(metrics['forms'])}",
        f"corrected        {metrics['corrected']} labels",
        f"manufacturers    {_listed(metrics['manufacturers'])}",
        f"photometric      {_listed(metrics['photometric_interpretations'])}",
        f"transfer syntax  {_listed(_by_name(metrics['transfer_syntaxes']))}",
        f"flagged          {_listed(metrics['flagged']) or 'none'}",
        f"rejected         {len(quarantine)}",
    ]
    for reason, count in metrics["rejected"].items():
        example = quarantine[quarantine["reason"] == reason].iloc[0]
        lines.append(f"  {reason} {count}, such as {example['path']!r}: {example['detail']}")
    if metrics["rejected"]:
        lines.append("to see what becomes of one file, and why: mammo inspect FILE")
    return "\n".join(lines)


def thin_classes(metrics: dict[str, Any]) -> list[str]:
    """Name the classes that train, val and test can't all have, one warning each."""
    return [
        f"class {name}: {count} patient{'' if count == 1 else 's'}, fewer than the "
        f"{_SPLITS} splits: one of them will lack it; add patients, or see dataset.classes and "
        "split.missing_class"
        for name, count in metrics["patients_by_class"].items()
        if 0 < count < _SPLITS
    ]


def _by_name(syntaxes: dict[str, int]) -> dict[str, int]:
    return {codestream.name_of(uid): count for uid, count in syntaxes.items()}


def _counts(values: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in sorted(values):
        counts[value] = counts.get(value, 0) + 1
    return counts


def _range(bounds: dict[str, int]) -> str:
    low, high = bounds["min"], bounds["max"]
    return str(low) if low == high else f"{low}-{high}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
