"""Small DICOM files in memory, in any transfer syntax, for tests and the fuzz corpus."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

MG_FOR_PRESENTATION = uid.DigitalMammographyXRayImageStorageForPresentation
IMPLICIT = uid.ImplicitVRLittleEndian
EXPLICIT = uid.ExplicitVRLittleEndian
DEFLATED = uid.DeflatedExplicitVRLittleEndian
BIG_ENDIAN = uid.ExplicitVRBigEndian
RLE = uid.RLELossless
JPEG_BASELINE = uid.JPEGBaseline8Bit
JPEG_EXTENDED = uid.JPEGExtended12Bit
JPEG_LOSSLESS = uid.JPEGLosslessSV1
JPEG_LS = uid.JPEGLSLossless
JPEG_2000 = uid.JPEG2000Lossless
HTJ2K = uid.HTJ2KLossless
LOSSLESS = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN, RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K)


def breast_pixels(rows: int = 96, columns: int = 64, bits: int = 12, seed: int = 0) -> np.ndarray:
    """A half ellipse of tissue at the left border on a black background: (rows, columns)."""
    y, x = np.mgrid[0:rows, 0:columns]
    inside = ((y - rows / 2) / (0.4 * rows)) ** 2 + (x / (0.7 * columns)) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 0.02, (rows, columns))
    tissue = 0.5 + 0.2 * np.sin(x / 5) * np.cos(y / 7) + noise
    values = np.where(inside, tissue.clip(0.2, 0.95), 0) * (2**bits - 1)
    return np.rint(values).astype(np.uint8 if bits <= 8 else np.uint16)


def dataset(pixels: np.ndarray, bits: int = 12, **tags: Any) -> Dataset:
    """A mammogram's data set without pixel data; `tags` set or, if None, delete elements."""
    ds = Dataset()
    ds.SOPClassUID = MG_FOR_PRESENTATION
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.Modality = "MG"
    ds.PatientID = "P1"
    ds.AccessionNumber = "0042"
    ds.ImageLaterality = "L"
    ds.ViewPosition = "CC"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def codestream(pixels: np.ndarray, syntax: str, bits: int = 12, **options: Any) -> bytes:
    """Compress pixels for an encapsulated syntax."""
    if syntax == RLE:
        return _rle(pixels)
    if syntax in (JPEG_BASELINE, JPEG_EXTENDED):
        return imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=bits, **options)
    if syntax == JPEG_LOSSLESS:
        options = {"predictor": 1, **options}
        return imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits, **options)
    if syntax == JPEG_LS:
        return imagecodecs.jpegls_encode(pixels, **options)
    if syntax == JPEG_2000:
        options = {"reversible": True, "codecformat": "j2k", "bitspersample": bits, **options}
        return imagecodecs.jpeg2k_encode(pixels, level=0, **options)
    if syntax == HTJ2K:
        return _htj2k(pixels, bits, **options)
    raise ValueError(f"{syntax} is not encapsulated here")


def _htj2k(pixels: np.ndarray, bits: int, **options: Any) -> bytes:
    """The encoder codes all bits of the type: move the level shift (T.800 G.1), then the depth."""
    full = 8 * pixels.dtype.itemsize
    shifted = pixels + pixels.dtype.type(2 ** (full - 1) - 2 ** (bits - 1))
    stream = bytearray(imagecodecs.htj2k_encode(shifted, reversible=True, **options))
    depth_at = stream.index(b"\xff\x51") + 40  # Ssiz of the one component
    stream[depth_at] = bits - 1
    return bytes(stream)


def _rle(pixels: np.ndarray) -> bytes:
    """Byte planes, most significant first, each row packed by itself (PS3.5 Annex G)."""
    planes = pixels.astype(pixels.dtype.newbyteorder(">")).view(np.uint8)
    count = pixels.dtype.itemsize
    segments = []
    for plane in range(count):
        rows = np.ascontiguousarray(planes[:, plane::count])
        segment = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in rows)
        segments.append(segment + b"\0" * (len(segment) % 2))
    starts = [64 + sum(map(len, segments[:number])) for number in range(count)]
    return struct.pack("<16L", count, *starts, *[0] * (15 - count)) + b"".join(segments)


def dicom_bytes(
    pixels: np.ndarray,
    syntax: str = EXPLICIT,
    bits: int = 12,
    stream: bytes | None = None,
    **tags: Any,
) -> bytes:
    """A whole file; `stream` replaces the codestream, `tags` the data set's elements."""
    ds = dataset(pixels, bits, **tags)
    if syntax in (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN):
        order = ">" if syntax == BIG_ENDIAN else "<"
        raw = (
            pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() if stream is None else stream
        )
        ds.PixelData = raw + b"\0" * (len(raw) % 2)
        ds["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    else:
        ds.PixelData = encapsulate([codestream(pixels, syntax, bits) if stream is None else stream])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MG_FOR_PRESENTATION
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = uid.UID(syntax)
    file = FileDataset("", ds, preamble=b"\0" * 128, file_meta=meta)
    buffer = io.BytesIO()
    dcmwrite(
        buffer,
        file,
        implicit_vr=syntax == IMPLICIT,
        little_endian=syntax != BIG_ENDIAN,
        enforce_file_format=True,
    )
    return buffer.getvalue()
