"""Section `dataset`."""

import re
from typing import Literal

from pydantic import ValidationInfo, field_validator

from mammo import paths
from mammo.cohort.classes import ClassSet, labels_of
from mammo.datasets.rows import normalised
from mammo.params import Params

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")  # a column's name in a pattern of paths


class Columns(Params):
    """The names of the columns of a `csv` table; null where the DICOM header tells instead.

    Attributes:
        image: A column of paths below the root, or a pattern over columns that makes the path,
            such as `{patient_id}/{image_id}.dcm`.
        patient_id: Groups the images of one person.
        laterality: L or R.
        view: CC or MLO.
        label: The density.
        split: The published split, if there is one.
    """

    image: str
    patient_id: str | None
    laterality: str | None
    view: str | None
    label: str
    split: str | None

    @field_validator("image")
    @classmethod
    def _braces_pair(cls, image: str) -> str:
        if "{" in image and set("{}") & set(PLACEHOLDER.sub("", image)):
            raise ValueError("must close each { that it opens, as {patient_id}/{image_id}.dcm does")
        return image


DatasetName = Literal[
    "csv", "irma", "rsna", "vindr", "cbis_ddsm", "inbreast", "embed", "cdd_cesm", "mini_mias"
]


class DatasetParams(Params):
    """Section `dataset` of params.yaml.

    Attributes:
        name: Which publisher's layout `root` and `table` have.
        root: The folder of the images.
        table: The label table; a folder for datasets that come with several.
        corrections: A table of labels that a reader changed; see `ingest.corrections`.
        key_file: See `ingest.keys.read_dataset_key`; `~` is the home.
        classes: The classes to tell apart.
        columns: For `csv` only: the table's columns.
        labels: For `csv` only: which label each token of the table stands for.
    """

    name: DatasetName
    root: str
    table: str
    corrections: str
    key_file: str | None
    classes: ClassSet
    columns: Columns
    labels: dict[str, str]

    @field_validator("key_file")
    @classmethod
    def _home_is_found(cls, key_file: str | None) -> str | None:
        return str(paths.expanded(key_file)) if key_file else key_file

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
            for token, label in labels.items():
                if label not in known:
                    raise ValueError(f"must map to {', '.join(known)}, got {label!r} for {token!r}")
        return labels

    @field_validator("classes")
    @classmethod
    def _classes_fit(cls, classes: ClassSet, info: ValidationInfo) -> ClassSet:
        name = info.data.get("name", "csv")
        own = "fatty_glandular_dense"
        if name != "csv" and (name == "mini_mias") != (classes == own):
            raise ValueError(f"must{'' if name == 'mini_mias' else ' not'} be {own} for {name}")
        return classes
