"""Write small mammogram files and label tables, as the tests of ingestion need them."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

ROWS, COLUMNS = 12, 8


def pixels_of(name: str) -> np.ndarray:
    """Make 12-bit pixels that differ from name to name: (ROWS, COLUMNS) uint16."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)


def write_dicom(path: Path, pixels: np.ndarray | None = None, **tags: Any) -> Path:
    """Write a mammogram; `tags` are added by DICOM keyword, None deletes one."""
    pixels = pixels_of(str(path)) if pixels is None else pixels
    image = Dataset()
    image.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    image.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    image.Modality = "MG"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageType = ["DERIVED", "PRIMARY"]
    image.PatientID = "P1"
    image.ImageLaterality = "L"
    image.ViewPosition = "CC"
    image.Manufacturer = "Maker"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.get("SOPClassUID", "1.2.3")
    image.file_meta.MediaStorageSOPInstanceUID = image.get("SOPInstanceUID", "1.2.4")
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


def code(scheme: str, value: str, meaning: str, **more: Any) -> Dataset:
    """Make an item of a code sequence (PS3.3 8.1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    for keyword, sequence in more.items():
        setattr(item, keyword, sequence)
    return item


def write_picture(path: Path, suffix: str | None = None, mode: str = "L") -> Path:
    """Write an 8-bit picture whose grey values differ from path to path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = (pixels_of(str(path)) >> 4).astype(np.uint8)
    Image.fromarray(grey).convert(mode).save(path, suffix)
    return path


def write_text(path: Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> Path:
    """Write a table line by line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode(encoding))
    return path
