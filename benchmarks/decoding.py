"""Time the way from DICOM files to shards beside the plain way; write benchmarks/decoding.md.

Makes 200 files of 3518 x 2800 pixels, 12 bits: 50 each of JPEG 2000 lossless, JPEG Lossless, RLE
and uncompressed. The plain way is pydicom with pylibjpeg's full decode and OpenCV's area resize.

    PYTHONPATH=src python benchmarks/decoding.py            (6 to 8 minutes)
"""

import argparse
import hashlib
import io
import logging
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pandas as pd
import pydicom
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from machine import machine
from mammo.dicom.params import Limits
from mammo.params import read_params
from mammo.preprocess.dataset import decode_files
from mammo.preprocess.params import PreprocessParams
from mammo.storage.scratch import Store
from mammo.storage.tensors import Tensors, write_shards

ROWS, COLUMNS = 3518, 2800
REPEATS = 3
SIZE_PX = 512
KINDS = {
    "JPEG 2000 lossless": uid.JPEG2000Lossless,
    "JPEG Lossless": uid.JPEGLosslessSV1,
    "RLE": uid.RLELossless,
    "uncompressed": uid.ExplicitVRLittleEndian,
}
TARGETS = {"JPEG 2000 lossless": "10", "JPEG Lossless": "3", "RLE": "–", "uncompressed": "–"}
LIMITS = Limits(max_pixels=64_000_000, max_inflated_mb=512)
CHANGES = {"size_px": SIZE_PX, "duplicate_pixels": "flag", "workers": 1, "memory_mb": 1024}
PARAMS = PreprocessParams.model_validate(
    read_params(Path(__file__).parents[1] / "params.yaml")["preprocess"] | CHANGES
)


# ---- the files


def texture() -> np.ndarray:
    """A breast with tissue of a 1/f^3 power law: (ROWS, COLUMNS) float32 in [0, 1]."""
    rng = np.random.default_rng(0)
    fy, fx = np.fft.fftfreq(ROWS)[:, None], np.fft.rfftfreq(COLUMNS)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / COLUMNS) ** 1.5
    noise = np.fft.irfft2(amplitude * np.fft.rfft2(rng.normal(size=(ROWS, COLUMNS))))
    tissue = 0.5 + 0.12 * noise[:, :COLUMNS] / noise.std()
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    radius = ((y - ROWS / 2) / (0.42 * ROWS)) ** 2 + (x / (0.62 * COLUMNS)) ** 2
    skin = np.clip((1 - radius) * 8, 0, 1)
    return (skin * tissue.clip(0.05, 1)).astype(np.float32)


def image(base: np.ndarray, number: int) -> np.ndarray:
    """Shift the tissue and add quantum noise inside the breast, as each exposure does."""
    rng = np.random.default_rng(number)
    noise = rng.standard_normal((ROWS, COLUMNS), dtype=np.float32) * 12 * (base > 0)
    shifted = np.roll(base, 7 * number, axis=0)
    values = 3600 * shifted + np.roll(noise, 7 * number, axis=0)
    return np.rint(values.clip(0, 4095)).astype(np.uint16)


def compressed(pixels: np.ndarray, syntax: str) -> bytes:
    """Encode one frame."""
    if syntax == KINDS["JPEG 2000 lossless"]:
        return imagecodecs.jpeg2k_encode(
            pixels, level=0, reversible=True, codecformat="j2k", bitspersample=12, numthreads=2
        )
    if syntax == KINDS["JPEG Lossless"]:
        return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12)
    planes = [pixels >> 8, pixels & 255]
    segments = []
    for plane in planes:
        rows = plane.astype(np.uint8)
        segment = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in rows)
        segments.append(segment + b"\0" * (len(segment) % 2))
    header = struct.pack("<16L", 2, 64, 64 + len(segments[0]), *[0] * 13)
    return header + b"".join(segments)


def dicom(pixels: np.ndarray, syntax: str) -> bytes:
    """Wrap pixels as a mammogram with a window."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    meta.TransferSyntaxUID = uid.UID(syntax)
    ds = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, uid.UID("1.2.3")
    ds.Modality, ds.PhotometricInterpretation = "MG", "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    native = syntax == KINDS["uncompressed"]
    ds.PixelData = pixels.tobytes() if native else encapsulate([compressed(pixels, syntax)])
    ds["PixelData"].VR = "OW" if native else "OB"
    ds["PixelData"].is_undefined_length = not native
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def write_files(root: Path, per_kind: int) -> dict[str, pd.DataFrame]:
    """Write the files of each kind and list them as ingest does."""
    base = texture()
    tables = {}
    for kind, syntax in KINDS.items():
        rows = []
        for number in range(per_kind):
            content = dicom(image(base, number), syntax)
            name = f"{syntax}-{number:03d}.dcm"
            (root / name).write_bytes(content)
            rows.append(
                {
                    "key": f"{number:03d}-{syntax}",
                    "path": name,
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "patient_id": str(number),
                    "laterality": "L",
                    "manufacturer": "",
                    "transfer_syntax_uid": syntax,
                }
            )
        tables[kind] = pd.DataFrame(rows)
    return tables


# ---- the two ways


def plain_way(files: pd.DataFrame, root: Path, folder: Path) -> float:
    """Decode in full with pydicom and pylibjpeg, resize by area, write shards; in seconds."""
    started = time.perf_counter()

    def tensors():
        for path in files["path"]:
            ds = pydicom.dcmread(root / path)
            if not ds.file_meta.TransferSyntaxUID.endswith((".1.2.1", ".1.2.5")):
                ds.pixel_array_options(decoding_plugin="pylibjpeg")
            pixels = ds.pixel_array
            scale = SIZE_PX / max(pixels.shape)
            size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
            resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            square = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
            square[: resized.shape[0], : resized.shape[1]] = resized >> 4
            yield square

    write_shards(tensors(), sorted(files["key"]), folder, 2**28)
    return time.perf_counter() - started


def our_way(files: pd.DataFrame, root: Path, scratch: Path, workers: int = 1) -> tuple[float, Path]:
    """Run the stage's one call with an empty scratch store; seconds and the shards' folder."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    store = Store(Path(tempfile.mkdtemp(dir=scratch)))
    params = PARAMS.model_copy(update={"workers": workers})
    started = time.perf_counter()
    result = decode_files(files, root, params, LIMITS, store, folder)
    seconds = time.perf_counter() - started
    if result.metrics["accepted"] != len(files):
        raise RuntimeError(f"not all accepted: {result.quarantine}")
    return seconds, folder


def peak_memory_mb(files: pd.DataFrame, root: Path, scratch: Path) -> float:
    """Run all files in a fresh parent, whose one worker's peak then isn't the benchmark's own."""
    table = scratch / "files.csv"
    files.to_csv(table, index=False)
    command = [sys.executable, __file__, "--peak", str(table), str(root), str(scratch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(table: str, root: str, scratch: str) -> None:
    """Print the largest memory that a worker took, in MB."""
    our_way(pd.read_csv(table, dtype=str, keep_default_na=False), Path(root), Path(scratch))
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)


def read_back(folder: Path, images: int = 20_000) -> float:
    """Gather random batches of 64 tensors; images a second."""
    tensors = Tensors(folder)
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(images // 64):
        tensors.gather(rng.integers(0, len(tensors), 64))
    return images // 64 * 64 / (time.perf_counter() - started)


# ---- the report


def in_turns(files: pd.DataFrame, root: Path, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run the plain way and ours one after the other, three times: seconds, (3,) each."""
    plain, ours = [], []
    for _ in range(REPEATS):
        plain.append(plain_way(files, root, Path(tempfile.mkdtemp(dir=scratch))))
        ours.append(our_way(files, root, scratch)[0])
    return np.array(plain), np.array(ours)


def _spread(ratios: np.ndarray) -> str:
    return f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})"


def report(per_kind: int, scratch: Path) -> str:
    """Measure, and set the tables in Markdown."""
    root = scratch / "images"
    root.mkdir()
    tables = write_files(root, per_kind)
    lines = [
        "| kind | MB a file | plain, images/s | ours, images/s, one core | ratio "
        "| ratio after start | target |",
        "|---|---|---|---|---|---|---|",
    ]
    single = tables["uncompressed"].head(1)
    first = float(np.median([our_way(single, root, scratch)[0] for _ in range(REPEATS)]))
    for kind, files in tables.items():
        plain, ours = in_turns(files, root, scratch)
        size = (root / files["path"][0]).stat().st_size / 1e6
        later = (per_kind - 1) / per_kind * plain / (ours - first)
        lines.append(
            f"| {kind} | {size:.1f} | {per_kind / np.median(plain):.2f} "
            f"| {per_kind / np.median(ours):.1f} | {_spread(plain / ours)} | {_spread(later)} "
            f"| {TARGETS[kind]} |"
        )
    everything = pd.concat(tables.values()).sort_values("key", ignore_index=True)
    one, _ = our_way(everything, root, scratch, workers=1)
    two, folder = our_way(everything, root, scratch, workers=2)
    peak = peak_memory_mb(everything, root, scratch)
    lines += [
        "",
        f"- End to end, from files to shards of {SIZE_PX} x {SIZE_PX} uint8, into an empty scratch "
        f"store, the start of the worker process included (a run of one file: {first:.1f} s, "
        "which the ratio after start leaves out).",
        f"- All {len(everything)} files: {len(everything) / one:.1f} images/s with one worker, "
        f"{len(everything) / two:.1f} with two: {one / two:.2f} times.",
        f"- Peak memory of a worker: {peak:.0f} MB.",
        f"- Reading the store back, random batches of 64: {read_back(folder):,.0f} images/s.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-kind", type=int, default=50)
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable()
    cv2.setNumThreads(1)
    if arguments.peak:
        print_peak(*arguments.peak)
        return
    with tempfile.TemporaryDirectory() as scratch:
        table = report(arguments.per_kind, Path(scratch))
    text = (
        "# From DICOM files to shards\n\n"
        f"`PYTHONPATH=src python benchmarks/decoding.py` on {machine('numpy')}; "
        f"{4 * arguments.per_kind} files of {ROWS} x {COLUMNS}, 12 bits. Medians of {REPEATS} "
        "repeats, the two ways in turns; a ratio is taken repeat by repeat, its least and largest "
        f"value behind it.\n\n{table}\n"
    )
    print(text)
    if arguments.per_kind == 50:
        Path(__file__).with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
