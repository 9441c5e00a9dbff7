"""Files mutated at random, of every syntax and kind: each must be read or refused, never crash.

`tests/support/fuzz.py` damages files in ways whose right answer is known; here anything goes, so
that only an exception other than a fault of the file, or a hang, is a failure.
`PYTHONPATH=src:tests python -m support.malformed 5000` tries as many as wished.
"""

import io
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from mammo.dicom import codecs
from mammo.dicom.params import Limits
from mammo.dicom.picture_header import FORMATS
from mammo.dicom.picture_pixels import read_picture
from mammo.dicom.source import read_source
from mammo.errors import FileFault
from mammo.ingest.inspection import inspect_file
from mammo.preprocess.image import prepare
from support.dicom_files import (
    JPEG_2000,
    JPEG_EXTENDED,
    LOSSLESS,
    breast_pixels,
    codestream,
    dicom_bytes,
)
from support.preprocessing import PARAMS

LIMITS = Limits(max_pixels=10**6, max_inflated_mb=4)
_LENGTHS = (b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\0\0\0\x80")
_WORDS = (b"SQ", b"UN", b"OB", b"DS", b"US", b"\xfe\xff", b"\x28\0")


def sound_files() -> list[bytes]:
    """Make a file of every syntax, bare ones, and a picture of every kind."""
    pixels = breast_pixels()
    tags = {"WindowCenter": 2048, "WindowWidth": 4096, "PixelPaddingValue": 0}
    files = [dicom_bytes(pixels, syntax, **tags) for syntax in (*LOSSLESS, JPEG_EXTENDED)]
    boxes = codestream(pixels, JPEG_2000, codecformat="jp2")
    files += [files[0][132:], dicom_bytes(pixels, JPEG_2000, stream=boxes)]
    bare = io.BytesIO()
    dataset = pydicom.Dataset(pydicom.dcmread(io.BytesIO(files[0])))
    pydicom.dcmwrite(bare, dataset, implicit_vr=True, little_endian=True)
    files.append(bare.getvalue())
    grey = (pixels >> 4).astype(np.uint8)
    for kind, values in (("PNG", pixels), ("PNG", grey), ("TIFF", pixels), ("JPEG", grey)):
        picture = io.BytesIO()
        Image.fromarray(values).save(picture, kind)
        files.append(picture.getvalue())
    picture = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(picture, "JPEG", progressive=True)
    files.append(picture.getvalue())
    return files


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change, cut, insert, swap or repeat at some random places, most of them in the header."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        size = len(changed)
        if size < 8:
            break
        place = rng.randrange(size if rng.random() < 0.4 else min(size, 1400))
        other = rng.randrange(size)
        how = rng.randrange(8)
        if how == 0:
            changed[place] = rng.randrange(256)
        elif how == 1:
            changed[place : place + 4] = rng.choice(_LENGTHS)
        elif how == 2:
            del changed[place : place + rng.randrange(1, 200)]
        elif how == 3:
            changed[place:place] = rng.randbytes(rng.randrange(1, 100))
        elif how == 4:
            del changed[place:]
        elif how == 5:
            here, there = changed[place : place + 20], changed[other : other + 20]
            changed[place : place + 20], changed[other : other + 20] = there, here
        elif how == 6:
            changed[place:place] = changed[place : place + rng.randrange(1, 300)]
        else:
            changed[place : place + 2] = rng.choice(_WORDS)
    return bytes(changed)


def outcome(content: bytes, folder: Path) -> str:
    """Take a file the whole way to a tensor; `accepted`, or the reason of its refusal."""
    (folder / "file").write_bytes(content)
    inspection = inspect_file(folder, "file", LIMITS)
    if inspection.fault is not None:
        return inspection.fault.reason
    try:
        if inspection.transfer_syntax_uid in FORMATS:
            read_picture(content, inspection.transfer_syntax_uid, LIMITS.max_pixels)
            return "accepted"
        source = read_source(content, LIMITS)
        decoded = codecs.decode(source, 32)
        prepare(decoded.pixels, source.grey, PARAMS)
    except FileFault as fault:
        return fault.reason
    return "accepted"


def run(count: int, seed: int = 0) -> Counter[str]:
    """Try so many; whatever isn't a fault of the file is raised."""
    files = sound_files()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            counts[outcome(mutated(rng.choice(files), rng), Path(folder))] += 1
    return counts


if __name__ == "__main__":
    print(run(int(sys.argv[1])).most_common())
