"""The datasets: each reads its published files unchanged into one common table of images."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mammo.cohort.classes import ClassSet, class_of
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
from mammo.datasets.params import DatasetParams
from mammo.datasets.rows import ImageRow

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
    return [_classified(_below(row, root), params.classes) for row in rows]


def _classified(row: ImageRow, classes: ClassSet) -> ImageRow:
    """Give a row its class for a label."""
    return replace(row, label=class_of(classes, row.label) if row.label else "")


def _below(row: ImageRow, root: Path) -> ImageRow:
    """Bring a row's path to one spelling, relative to the root; an absolute one may lie below it.

    Links aren't resolved: where the user's own lead is the user's business.
    """
    path = PurePosixPath(row.path.replace("\\", "/"))
    absolute = path.is_absolute() or _DRIVE.match(path.as_posix())
    for base in (root.absolute(), root.resolve()):
        if absolute and path.is_relative_to(base.as_posix()):
            path, absolute = path.relative_to(base.as_posix()), None
    row = replace(row, path=path.as_posix())
    if absolute:
        return row.rejected(
            "path_outside_root",
            f"{path} is an absolute path that doesn't lie below dataset.root ({root.absolute()}); "
            "write paths relative to it",
        )
    if ".." in path.parts:
        return row.rejected(
            "path_outside_root", f"{path} leads up with '..'; write paths relative to dataset.root"
        )
    return row


_DRIVE = re.compile(r"[A-Za-z]:/")
