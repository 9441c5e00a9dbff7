"""A folder of files, decoded."""

import hashlib
from pathlib import Path

import pandas as pd

from mammo.preprocess.dataset import decode_files
from mammo.storage.scratch import Store
from support.dicom_files import EXPLICIT, JPEG_2000, breast_pixels, dicom_bytes
from support.preprocessing import LIMITS, PARAMS


def write_files(root: Path, contents: dict[str, bytes], **columns: str) -> pd.DataFrame:
    """Write images and list them as ingest does."""
    rows = []
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append(
            {
                "key": hashlib.sha256(name.encode()).hexdigest()[:16],
                "path": name,
                "sha256": hashlib.sha256(content).hexdigest(),
                "patient_id": name.split("/")[0],
                "laterality": "L",
                "manufacturer": "",
                "transfer_syntax_uid": JPEG_2000 if name.endswith("j2k") else EXPLICIT,
            }
            | columns
        )
    return pd.DataFrame(rows).sort_values("key", ignore_index=True)


def mammogram(seed: int, syntax: str = EXPLICIT, **tags) -> bytes:
    pixels = breast_pixels(rows=80 + seed, columns=60, seed=seed)
    return dicom_bytes(pixels, syntax, WindowCenter=2048, WindowWidth=4096, **tags)


def some_files(root: Path, count: int = 6) -> pd.DataFrame:
    return write_files(root, {f"P{n}/{n}.dcm": mammogram(n) for n in range(count)})


def run(tmp_path: Path, files: pd.DataFrame, name: str = "out", store: str = "store", **changes):
    folder = tmp_path / name
    folder.mkdir()
    params = PARAMS.model_copy(update=changes)
    result = decode_files(
        files, tmp_path / "images", params, LIMITS, Store(tmp_path / store), folder
    )
    return result, folder


def contents_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
