"""All files -> shards of tensors, through worker processes and the scratch store.

What a file became is kept in the scratch store under everything that it depends on; the outputs
are assembled from there in sorted order, so that their bytes never depend on history.
"""

import contextlib
import functools
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from mammo.dicom import codecs
from mammo.dicom.params import Limits
from mammo.errors import FileFault, UserError
from mammo.preprocess.image import parted
from mammo.preprocess.params import PreprocessParams
from mammo.running.cluster import run_tasks_on_cluster
from mammo.running.serving import Task
from mammo.running.workers import Bounds, Outcome, cores, run_tasks
from mammo.storage.digests import code_sha256, digest
from mammo.storage.files import write_table
from mammo.storage.scratch import Store
from mammo.storage.tensors import OUTLINES, write_shards

logger = logging.getLogger(__name__)

# The parameters that change no byte of a tensor.
_RUN_ONLY = {"duplicate_pixels", "workers", "timeout_s", "memory_mb", "shard_mb", "scheduler"}
_NOT_OF_ONE = {*_RUN_ONLY, "by_manufacturer"}
# First-party code that a tensor depends on: a repaired decoder must not meet old tensors.
_CODE = ("mammo.dicom", "mammo.preprocess")

Row = dict[str, str]  # of data/files.csv


@dataclass(frozen=True)
class Result:
    """What `decode_files` leaves beside the shards.

    Attributes:
        quarantine: (path, patient_id, reason, detail) of each file rejected.
        metrics: Counts, and the decoders with their versions.
    """

    quarantine: pd.DataFrame
    metrics: dict[str, Any]


def decode_files(
    files: pd.DataFrame,
    root: Path,
    params: PreprocessParams,
    limits: Limits,
    store: Store,
    folder: Path,
    may_be_none: bool = False,
) -> Result:
    """Turn every file of the table into a tensor, or into a row of the quarantine.

    Args:
        files: Columns key, path, sha256, patient_id, laterality, manufacturer and
            transfer_syntax_uid; sorted by key.
        root: The folder that paths are relative to.
        params: Section `preprocess`.
        limits: Section `dicom`.
        store: Where finished tensors are kept between runs.
        folder: An empty folder for the shards.
        may_be_none: That no file is accepted is no error; the folder then stays empty.

    Raises:
        UserError: No file was accepted, or two patients share an image.
    """
    rows: list[Row] = [dict(row) for _, row in files.iterrows()]
    entries = {row["key"]: _store_key(row, params, limits) for row in rows}
    faults = _fill_store(rows, entries, root, params, limits, store)
    repeated = _duplicates(rows, entries, faults, store)
    if params.duplicate_pixels == "reject":
        faults |= repeated
    accepted = [row for row in rows if row["key"] not in faults]
    if not accepted and may_be_none:
        return Result(_quarantine(rows, faults), {})
    if not accepted:
        raise UserError(_nothing_accepted(faults))
    keys = [row["key"] for row in accepted]
    facts = _facts_table(accepted, entries, params, store)
    write_table(facts, folder / FACTS)  # before the shards, whose manifest names it
    shard_bytes, outlines = params.shard_mb * 2**20, folder / OUTLINES
    outlines.mkdir()
    # The tensors last: their manifest vouches for everything in the folder.
    for part, place in ((outlines, 1), (folder, 0)):
        items = (parted(_kept(store, entries[key]), params)[place] for key in keys)
        write_shards(items, keys, part, shard_bytes)
    metrics = _metrics(accepted, facts, faults, params) | {"duplicate_pixels": len(repeated)}
    logger.info(format_summary(metrics))
    return Result(_quarantine(rows, faults), metrics)


def _store_key(row: Row, params: PreprocessParams, limits: Limits) -> str:
    return digest(
        {
            "sha256": row["sha256"],
            "kind": row["transfer_syntax_uid"],
            "laterality": row["laterality"],
            # The maker counts by the grey scale that its name chooses.
            "params": params.for_manufacturer(row["manufacturer"]).model_dump(exclude=_NOT_OF_ONE),
            "limits": limits.model_dump(),
            "decoders": codecs.versions(),
            "code": _code_digest(),
        }
    )


@functools.cache
def _code_digest() -> str:
    return code_sha256(*_CODE)


def _facts_key(key: str) -> str:
    return digest([key, "facts"])


def _keep(
    store: Store, key: str, facts: dict[str, Any], row: np.ndarray, params: PreprocessParams
) -> None:
    tensor, _ = parted(row, params)
    facts = facts | {"tensor_sha256": hashlib.sha256(tensor.tobytes()).hexdigest()}
    store.put(_facts_key(key), np.frombuffer(json.dumps(facts).encode(), np.uint8))
    store.put(key, row)


def _facts(store: Store, key: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(_kept(store, _facts_key(key)).tobytes())
    return facts


def _kept(store: Store, key: str) -> np.ndarray:
    kept = store.get(key)
    if kept is None:
        raise UserError(f"{store.path(key)}: vanished while the stage ran; run it again")
    return kept


def _is_kept(store: Store, key: str, params: PreprocessParams) -> bool:
    row = store.get(key)
    if row is None or store.get(_facts_key(key)) is None:
        return False
    with contextlib.suppress(ValueError):
        parted(row, params)
        return True
    return False


def _fill_store(
    rows: list[Row],
    entries: dict[str, str],
    root: Path,
    params: PreprocessParams,
    limits: Limits,
    store: Store,
) -> dict[str, FileFault]:
    """Prepare what the store lacks; return the fault of each key that has one."""
    missing = [row for row in rows if not _is_kept(store, entries[row["key"]], params)]
    logger.info("%d of %d images are in the scratch store", len(rows) - len(missing), len(rows))
    if store.damaged:
        logger.warning("%d damaged entries of it are made anew", len(store.damaged))
    faults: dict[str, FileFault] = {}
    shared = {"params": params.model_dump(), "limits": limits.model_dump()}
    tasks = (
        {
            "key": row["key"],
            "path": str((root / row["path"]).resolve()),
            "sha256": row["sha256"],
            "kind": row["transfer_syntax_uid"],
            "laterality": row["laterality"],
            "manufacturer": row["manufacturer"],
            **shared,
        }
        for row in missing
    )
    with tqdm(total=len(missing), desc="decode", unit="image", disable=None) as progress:
        for outcome in _run(tasks, min(len(missing), params.workers or cores()), params):
            key = outcome.task["key"]
            if outcome.fault is not None:
                faults[key] = outcome.fault
            elif outcome.array is not None:
                _keep(store, entries[key], outcome.facts, outcome.array, params)
            progress.update()
    return faults


def _run(tasks: Iterator[Task], processes: int, params: PreprocessParams) -> Iterator[Outcome]:
    bounds = Bounds(params.timeout_s, params.memory_mb, "preprocess")
    function = "mammo.preprocess.image:prepare_file"
    if params.scheduler is None:
        return run_tasks(function, tasks, processes, bounds)
    return run_tasks_on_cluster(function, tasks, params.scheduler, bounds)


def _duplicates(
    rows: list[Row], entries: dict[str, str], faults: dict[str, FileFault], store: Store
) -> dict[str, FileFault]:
    """Find equal tensors within a patient, but for the first of each.

    Raises:
        UserError: Two patients share an image, so one of the two names is wrong.
    """
    first: dict[str, Row] = {}
    repeated: dict[str, FileFault] = {}
    for row in rows:
        if row["key"] in faults:
            continue
        facts = _facts(store, entries[row["key"]])
        original = first.setdefault(facts["tensor_sha256"], row)
        if original is row:
            continue
        if original["patient_id"] != row["patient_id"]:
            raise UserError(
                f"{original['path']} and {row['path']}: one image under two patients, "
                f"{original['patient_id']!r} and {row['patient_id']!r}; remove one of the files"
            )
        repeated[row["key"]] = FileFault(
            "duplicate_pixels", f"the same image as {original['path']}"
        )
    return repeated


def _nothing_accepted(faults: dict[str, FileFault]) -> str:
    if not faults:
        return "data/files.csv: must list at least one image, got none; see data/quarantine.csv"
    reasons = Counter(fault.reason for fault in faults.values())
    counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    example = min(faults)
    return (
        f"data/files.csv: no image could be used ({counts}); "
        f"for example {example}: {faults[example].detail}"
    )


def _quarantine(rows: list[Row], faults: dict[str, FileFault]) -> pd.DataFrame:
    columns = ["path", "patient_id", "reason", "detail"]
    rejected = [
        (row["path"], row["patient_id"], faults[row["key"]].reason, faults[row["key"]].detail)
        for row in rows
        if row["key"] in faults
    ]
    return pd.DataFrame(sorted(rejected), columns=columns)


FACTS = "facts.csv"  # beside the shards: how each image was prepared


def _facts_table(
    accepted: list[Row], entries: dict[str, str], params: PreprocessParams, store: Store
) -> pd.DataFrame:
    """Tell of each image its grey scale, the entry of `by_manufacturer` used, its flags."""
    rows = []
    for row in accepted:
        facts, entry = _facts(store, entries[row["key"]]), params.maker_of(row["manufacturer"])
        maker = entry.manufacturer if entry else ""
        flags = ";".join(facts["flags"])
        rows.append((row["key"], facts["voi"], maker, facts["chest_wall"], flags))
    return pd.DataFrame(rows, columns=["key", "voi", "by_manufacturer", "chest_wall", "flags"])


def format_summary(metrics: dict[str, Any]) -> str:
    """Lay out the metrics for the console."""

    def listed(name: str) -> str:
        return ", ".join(f"{key} {count}" for key, count in metrics[name].items()) or "none"

    lines = [f"accepted         {metrics['accepted']} images, rejected {metrics['rejected']}"]
    if metrics["rejected"]:
        lines.append(f"  by reason      {listed('rejected_by_reason')}")
    lines += [
        f"grey scale       {listed('grey_scale')}",
        f"by manufacturer  {listed('by_manufacturer')}",
        f"flagged          {listed('flagged')}",
    ]
    return "\n".join(lines)


def _metrics(
    accepted: list[Row],
    facts: pd.DataFrame,
    faults: dict[str, FileFault],
    params: PreprocessParams,
) -> dict[str, Any]:
    return {
        "accepted": len(accepted),
        "rejected": len(faults),
        "rejected_by_reason": _counts(fault.reason for fault in faults.values()),
        "size_px": params.size_px,
        "dtype": params.dtype,
        "grey_scale": _counts(facts["voi"]),
        "chest_wall": _counts(facts["chest_wall"]),
        "flagged": _counts(flag for flags in facts["flags"] for flag in flags.split(";") if flag),
        "by_manufacturer": _counts(maker for maker in facts["by_manufacturer"] if maker),
        "transfer_syntaxes": _counts(row["transfer_syntax_uid"] for row in accepted),
        "decoders": codecs.versions(),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
