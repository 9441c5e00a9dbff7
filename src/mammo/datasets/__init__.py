"""The datasets: each reads its published files unchanged into one common table of images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import ValidationInfo, field_validator

from mammo.classes import ClassSet, class_of, labels_of
from mammo.datasets import (
    cbis_ddsm,
    cdd_cesm,
    embed,
    generic,
    inbreast,
    irma,
    mini_mias,
    rsna,
    vindr,
)
from mammo.datasets.folders import require_folder
from mammo.datasets.rows import ImageRow, normalised
from mammo.params import Params

DatasetName = Literal[
    "csv", "irma", "rsna", "vindr", "cbis_ddsm", "inbreast", "embed", "cdd_cesm", "mini_mias"
]
_READERS: dict[str, Callable[[Path, Path], list[ImageRow]]] = {
    "irma": irma.read,
    "rsna": rsna.read,
    "vindr": vindr.read,
    "cbis_ddsm": cbis_ddsm.read,
    "inbreast": inbreast.read,
    "embed": embed.read,
    "cdd_cesm": cdd_cesm.read,
    "mini_mias": mini_mias.read,
}


class DatasetParams(Params):
    """Section `dataset` of params.yaml.

    Attributes:
        name: Which publisher's layout `root` and `table` have.
        root: The folder of the images.
        table: The label table; a folder for datasets that come with several.
        key_file: See `identity.read_dataset_key`.
        classes: The classes to tell apart.
        columns: For `csv` only: the table's columns.
        labels: For `csv` only: which label each token of the table stands for.
    """

    name: DatasetName
    root: str
    table: str
    key_file: str | None
    classes: ClassSet
    columns: generic.Columns
    labels: dict[str, str]

    @field_validator("labels", mode="before")
    @classmethod
    def _tokens_are_text(cls, labels: object) -> object:
        # YAML reads an unquoted 1 as a number; a bool would be a misread Y or N.
        if not isinstance(labels, dict):
            return labels
        return {str(k) if type(k) is int else k: label for k, label in labels.items()}

    @field_validator("labels")
    @classmethod
    def _labels_fit(cls, labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        tokens = {normalised(token) for token in labels}
        if not tokens or "" in tokens or len(tokens) < len(labels):
            raise ValueError("must map distinct tokens that aren't blank")
        if info.data.get("name") == "csv" and "classes" in info.data:
            known = labels_of(info.data["classes"])
            if not set(labels.values()) <= set(known):
                raise ValueError(f"must map to {', '.join(known)}")
        return labels

    @field_validator("classes")
    @classmethod
    def _classes_fit(cls, classes: ClassSet, info: ValidationInfo) -> ClassSet:
        name = info.data.get("name", "csv")
        own = "fatty_glandular_dense"
        if name != "csv" and (name == "mini_mias") != (classes == own):
            raise ValueError(f"must{'' if name == 'mini_mias' else ' not'} be {own} for {name}")
        return classes


def read_dataset(params: DatasetParams) -> list[ImageRow]:
    """Read the label table into rows of one image each; `label` is a class of `params.classes`.

    Several rows may name one path, and rows with a `reason` can't be used: ingest deals with both.

    Raises:
        UserError: The folder or table is missing, empty or not in the dataset's layout.
    """
    root, table = Path(params.root), Path(params.table)
    require_folder(root)
    if params.name == "csv":
        rows = generic.read(root, table, params.columns, params.labels)
    else:
        rows = _READERS[params.name](root, table)
    return [_classified(row, params.classes) for row in rows]


def _classified(row: ImageRow, classes: ClassSet) -> ImageRow:
    """Give a row its class for a label, and its path one spelling."""
    label = class_of(classes, row.label) if row.label else ""
    path = PurePosixPath(row.path.replace("\\", "/"))
    row = replace(row, label=label, path=path.as_posix())
    if path.is_absolute() or ".." in path.parts:
        return row.rejected("path_outside_root", f"{row.path} leads out of dataset.root")
    return row
