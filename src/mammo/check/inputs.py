"""Refuse files and folders that later stages would miss, or wait for without end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammo import paths
from mammo.datasets.folders import shown, survey
from mammo.datasets.params import DatasetParams
from mammo.errors import UserError
from mammo.ingest.keys import PUBLIC, read_dataset_key
from mammo.network.params import BackboneParams

_START_BYTES = 64  # of a weights file, enough to tell text


def check_inputs(values: dict[str, Any]) -> dict[str, Path | None]:
    """Refuse files and folders that later stages would miss, or wait for without end.

    Args:
        values: Of a sound params.yaml.

    Returns:
        The files that stages read and DVC doesn't hash, by the key that names each.

    Raises:
        UserError: Lists every fault found, one a line.
    """
    dataset = DatasetParams.model_validate(values["dataset"])
    backbone = BackboneParams.model_validate(values["backbone"])
    root, table = Path(dataset.root), Path(dataset.table)
    faults: list[str] = []
    if not paths.is_phantom(root):  # the phantom is drawn later
        if not root.is_dir():
            faults.append(f"params.yaml: dataset.root: no such folder, got {str(root)!r}")
        if not table.exists():
            faults.append(f"params.yaml: dataset.table: no such file, got {str(table)!r}")
        elif dataset.name == "csv" and table.is_dir():
            faults.append(
                f"params.yaml: dataset.table: must be a table with dataset.name: csv, got the "
                f"folder {str(table)!r}"
            )
        faults += _untrackable(root)
    if not Path(dataset.corrections).is_file():
        faults.append(
            f"params.yaml: dataset.corrections: no such file, got {dataset.corrections!r}; for no "
            "correction it holds the line key,old,new,who,when alone"
        )
    try:
        read_dataset_key(dataset.key_file, root)
    except UserError as error:
        faults.append(str(error))
    if backbone.file is not None and not backbone.file.is_file():
        faults.append(f"params.yaml: backbone.file: no such file, got {str(backbone.file)!r}")
    elif backbone.file is not None and backbone.file.suffix in (".pth", ".pt"):
        faults += _text_for_tensors(backbone.file)
    if faults:
        raise UserError("\n".join(faults))
    secret = dataset.key_file not in (None, PUBLIC)
    return {
        "dataset.key_file": Path(str(dataset.key_file)) if secret else None,
        "backbone.file": backbone.file,
    }


def _untrackable(root: Path) -> Iterator[str]:
    """Name what DVC can't hash: a FIFO is waited for without end, other names end in a traceback.

    Raises nothing: folders that can't be read are for ingest's policy to judge.
    """
    found = survey(root)
    for path, kind in found.special.items():
        yield f"{root / path}: is {kind}, and nothing can read it to its end: remove it"
    for path in found.not_utf8:
        yield (
            f"{root}/{shown(path)}: the name isn't UTF-8, which DVC can't track: rename the file, "
            f"for instance with `convmv -f latin1 -t utf8 --notest -r {root}`"
        )


def _text_for_tensors(path: Path) -> Iterator[str]:
    """Name a file of text: the unpickler takes some for a damaged file, others for a program."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if start.isascii() and b"\0" not in start:  # a zip has a NUL by then, a pickle begins with 0x80
        line = start.decode().partition("\n")[0]
        yield (
            f"{path}: backbone.file must be what torch.save writes, got text that begins with "
            f"{line!r}; download the file anew: a Git LFS pointer or a web page is in its place"
        )
