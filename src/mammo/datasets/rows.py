"""One row of the common image table, and the tokens that all datasets share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mammo.datasets.folders import Finder

LATERALITIES = {"L": "L", "R": "R", "LEFT": "L", "RIGHT": "R"}
VIEWS = {"CC": "CC", "MLO": "MLO"}
SPLITS = {"TRAIN": "train", "TRAINING": "train", "VAL": "val", "VALIDATION": "val", "TEST": "test"}
# A blank among the numbers of a column turns 2 into 2.0 in what pandas saves.
BIRADS_NUMBERS = {f"{n}{end}": label for end in ("", ".0") for n, label in enumerate("ABCD", 1)}
BIRADS_LETTERS = {"A": "A", "B": "B", "C": "C", "D": "D"}


@dataclass(frozen=True)
class ImageRow:
    """What a label table says of one image.

    Attributes:
        path: Posix path relative to the dataset's root.
        patient_id: '' where the table doesn't say; ingest then takes the header's, and where
            that is blank too, `accession_number`.
        laterality: L, R, or '' where only the header tells.
        view: The view's token (CC, MLO, or another), or '' where only the header tells.
        label: A-D (or F, G, D of mini-MIAS); '' in a row with a reason.
        published_split: train, val, test or ''.
        flag: '' or the code of something that is counted but doesn't make the row unusable.
        reason: '' or the code of the fault that makes the row unusable; `detail` says more.
    """

    path: str
    patient_id: str = ""
    accession_number: str = ""
    laterality: str = ""
    view: str = ""
    label: str = ""
    published_split: str = ""
    flag: str = ""
    reason: str = ""
    detail: str = ""

    def rejected(self, reason: str, detail: str) -> "ImageRow":
        """Mark the row as unusable, unless it already is."""
        return self if self.reason else replace(self, label="", reason=reason, detail=detail)


def located(row: ImageRow, finder: Finder) -> ImageRow:
    """Give a row the one file that has its published name, or its stem in another form."""
    found = finder.published(row.path)
    if len(found) > 1:
        return row.rejected("file_ambiguous", f"{row.path} may be {' or '.join(found)}")
    return replace(row, path=found[0]) if found else row


def labelled(row: ImageRow, token: str, labels: Mapping[str, str]) -> ImageRow:
    """Give a row the label of its table's token: `label_missing` or `label_unmappable` if none."""
    normal = normalised(token)
    if normal not in labels and is_blank(token):
        said = f"says {token!r}" if normal else "is blank"
        return row.rejected("label_missing", f"the label cell {said}")
    if normal not in labels:
        known = ", ".join(labels)
        # A letter of another alphabet looks like the one that is meant.
        shown = repr(token) if token.isascii() else f"{token!r} ({token!a})"
        return row.rejected(
            "label_unmappable",
            f"label {shown} is none of {known}; if it stands for a density, a csv table may say "
            f"so under dataset.labels in params.yaml: {token.strip()!r}: A (or B, C, D)",
        )
    return row if row.reason else replace(row, label=labels[normal])


def placed(row: ImageRow, laterality: str, view: str) -> ImageRow:
    """Give a row its table's side and view; a side that isn't left or right is a fault."""
    side = normalised(laterality)
    view = normalised(view)
    row = replace(row, laterality=LATERALITIES.get(side, ""), view=VIEWS.get(view, view))
    if side and side not in LATERALITIES:
        known = ", ".join(LATERALITIES)
        return row.rejected(
            "laterality_unknown", f"laterality {laterality!r} is none of those understood: {known}"
        )
    return row


def published(row: ImageRow, split: str) -> ImageRow:
    """Give a row its published split; a split of another name is a fault."""
    token = normalised(split)
    row = replace(row, published_split=SPLITS.get(token, ""))
    if token and token not in SPLITS:
        return row.rejected("split_unknown", f"split {split!r} is none of {', '.join(SPLITS)}")
    return row


def is_blank(token: str) -> bool:
    """Tell a cell without a value, also as R and pandas write it."""
    return normalised(token) in ("", "NA", "NAN")


def normalised(token: str) -> str:
    """Bring a token to the form in which tokens are compared: upper case, single spaces."""
    return " ".join(token.split()).upper()
