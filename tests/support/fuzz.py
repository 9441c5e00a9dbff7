"""Damage files in over a thousand ways; each must decode to the very pixels or be refused.

`make fuzz` runs the whole corpus and ends with the line `silent wrong: 0 of N`. The files are
real ones where the sample data lie beside the checkout, else encodings of a made-up breast.
`python tests/support/fuzz.py --case 123` shows one case.

Bytes flipped, lost or gained inside pixel data that leave all markers and lengths valid can't be
told from other pixels (a JPEG scan of the right number of codes is a JPEG scan): those families
are counted apart.
"""

import argparse
import functools
import io
import random
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom import uid
from tqdm import tqdm

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

from mammo.dicom import codecs  # noqa: E402
from mammo.dicom.params import Limits  # noqa: E402
from mammo.dicom.source import read_source  # noqa: E402
from mammo.errors import FileFault  # noqa: E402
from mammo.running.workers import Bounds, run_tasks  # noqa: E402
from support.dicom_files import (  # noqa: E402
    BIG_ENDIAN,
    DEFLATED,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    LOSSLESS,
    breast_pixels,
    dicom_bytes,
)

SEED = 20
LIMITS = Limits(max_pixels=32_000_000, max_inflated_mb=64)
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "data"
CUTS = (0.02, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.97, 0.99, 0.999)

WRONG_TAGS: tuple[dict[str, object], ...] = (
    {"Rows": 1},
    {"Rows": 511},
    {"Rows": 513},
    {"Columns": 511},
    {"Columns": 513},
    {"Columns": 510},
    {"Rows": 256, "Columns": 1024},
    {"Rows": 1024, "Columns": 256},
    {"Rows": 128, "Columns": 2048},
    {"Rows": 2048, "Columns": 128},
    {"Rows": 65535, "Columns": 65535},
    {"Rows": 0},
    {"BitsStored": 11},
    {"BitsStored": 11, "HighBit": 10},
    {"BitsStored": 8, "HighBit": 7},
    {"BitsStored": 14, "HighBit": 13},
    {"BitsStored": 16, "HighBit": 15},
    {"BitsStored": 0},
    {"HighBit": 15},
    {"HighBit": 7},
    {"PixelRepresentation": 1},
    {"PixelRepresentation": 2},
    {"BitsAllocated": 8},
    {"BitsAllocated": 32},
    {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
    {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "Columns": 1024},
    {"SamplesPerPixel": 3},
    {"SamplesPerPixel": 0},
    {"PhotometricInterpretation": "RGB"},
    {"PhotometricInterpretation": "PALETTE COLOR"},
    {"NumberOfFrames": 2},
    {"NumberOfFrames": 0},
)
DELETED = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelData",
    "SOPClassUID",
)
SYNTAXES = (
    *LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    uid.JPEGLossless,
    "1.2.840.10008.1.2.4.55",  # JPEG full progression, retired: pydicom has no constant
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    "1.2.3",
)


@dataclass(frozen=True)
class Case:
    """One damaged file: which file, how, and the number that picks places in it."""

    base: str
    family: str
    number: int

    @property
    def payload(self) -> bool:
        """Tell whether the damage may leave all markers and lengths valid."""
        return self.family in ("payload_flip", "hole", "insertion")


# ---- the files


@functools.cache
def bases() -> dict[str, bytes]:
    """Name the undamaged files."""
    made = _encodings(_real_pixels())
    if not SAMPLES.is_dir():
        return made
    folder = SAMPLES / "dicom-samples"
    real = {f"mg-{path.stem}": path for path in folder.glob("mg-*.dcm")}
    real |= {"nema-j2k": folder / "nema-mg1-j2k-lossy.dcm", "vlut": folder / "vlut_04.dcm"}
    real["cdd"] = sorted((SAMPLES / "cdd-cesm/dicom").glob("*/*.dcm"))[0]
    for path in sorted((folder / "transfer-syntaxes").glob("CTImage.dcm_*")):
        real[f"ct-{path.stem.rpartition('_')[2]}"] = path
    contents = {name: path.read_bytes() for name, path in sorted(real.items())}
    return made | {name: content for name, content in contents.items() if _decodes(content)}


def _real_pixels() -> np.ndarray:
    if not SAMPLES.is_dir():
        return breast_pixels(rows=512, columns=512)
    path = sorted((SAMPLES / "cdd-cesm/dicom").glob("*/*.dcm"))[3]
    return codecs.decode(read_source(path, LIMITS), None).pixels


def _encodings(pixels: np.ndarray) -> dict[str, bytes]:
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "PixelPaddingValue": 0}
    encoded = {s: dicom_bytes(pixels, s, **window) for s in (*LOSSLESS, JPEG_EXTENDED)}
    return {f"breast-{syntax}": content for syntax, content in encoded.items()}


def _decodes(content: bytes) -> bool:
    try:
        read_source(content, LIMITS)
    except FileFault:
        return False
    return True


@functools.cache
def reference(base: str, target_px: int | None) -> np.ndarray:
    """Decode the undamaged file."""
    return codecs.decode(read_source(bases()[base], LIMITS), target_px).pixels


# ---- the damage


def cases() -> list[Case]:
    """List the whole corpus."""
    listed = []
    for base in bases():
        large = base.startswith(("mg-", "nema-"))
        for family, count in _families(base, large).items():
            listed += [Case(base, family, number) for number in range(count)]
    return listed


def _families(base: str, large: bool) -> dict[str, int]:
    syntax = _syntax(base)
    encapsulated = read_source(bases()[base], LIMITS).stream is not None
    jpeg = syntax in (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS) or syntax[-2:] == "57"
    few = 4 if large else None
    families = {
        "cut_file": few or len(CUTS),
        "header_flip": few or 16,
        "payload_flip": few or 12,
        "preamble": 2,
        "odd_length": few or 6,
        "swapped_syntax": 0 if large else len(SYNTAXES),
        "deleted_tag": 0 if large else len(DELETED),
        "cut_stream": (few or len(CUTS)) if encapsulated else 0,
        "cut_stream_new_end": (few or len(CUTS)) if jpeg else 0,
        "hole": (few or 6) if encapsulated else 0,
        "insertion": (few or 6) if encapsulated else 0,
        "fragment_length": (few or 4) if encapsulated else 0,
        "wrong_tag": len(WRONG_TAGS) if base.startswith("breast-") or base == "cdd" else 0,
        "deflate_bomb": 6 if syntax == DEFLATED else 0,
    }
    return {family: count for family, count in families.items() if count}


def _syntax(base: str) -> str:
    return _syntax_of(bases()[base])


def _syntax_of(content: bytes) -> str:
    return read_source(content, LIMITS).header.transfer_syntax_uid


def damage(case: Case) -> bytes:
    """Make the damaged file."""
    content = bases()[case.base]
    rng = random.Random(f"{SEED} {case.base} {case.family} {case.number}")
    return _DAMAGES[case.family](content, case.number, rng)


def _pixels_at(content: bytes) -> int:
    """Find where the pixel data element starts; in a deflated file, where its data set does."""
    if (syntax := _syntax_of(content)) == DEFLATED:
        return _meta_end(content)
    tag = b"\x7f\xe0\x00\x10" if syntax == BIG_ENDIAN else b"\xe0\x7f\x10\x00"
    return content.rindex(tag) if content.count(tag) == 1 else content.index(tag, 132)


def _meta_end(content: bytes) -> int:
    (length,) = struct.unpack_from("<L", content, 140)  # (0002,0000), after preamble and DICM
    return 144 + length


def _cut_file(content: bytes, number: int, rng: random.Random) -> bytes:
    return content[: int(len(content) * CUTS[number])]


def _header_flip(content: bytes, number: int, rng: random.Random) -> bytes:
    place = rng.randrange(132, _pixels_at(content))
    return _replace(content, place, rng)


def _payload_flip(content: bytes, number: int, rng: random.Random) -> bytes:
    place = rng.randrange(_pixels_at(content) + 12, len(content))
    return _replace(content, place, rng)


def _replace(content: bytes, place: int, rng: random.Random) -> bytes:
    other = (content[place] + rng.randrange(1, 256)) % 256
    return content[:place] + bytes([other]) + content[place + 1 :]


def _preamble(content: bytes, number: int, rng: random.Random) -> bytes:
    program = (b"MZ\x90\x00\x03", b"\x7fELF\x02\x01\x01")[number]
    return (program + rng.randbytes(128))[:128] + content[128:]


def _odd_length(content: bytes, number: int, rng: random.Random) -> bytes:
    """Take bytes from the end of the pixels, or add some; four times the length goes along."""
    change = (-1, 1, -2, 3, -1, 2)[number]
    if _syntax_of(content) == DEFLATED:
        return content[:change] if change < 0 else content + bytes([7] * change)
    start = _pixels_at(content)
    if read_source(content, LIMITS).stream is not None:
        frame = _frame(content)
        frame = frame[:change] if change < 0 else frame + bytes([7] * change)
        return _restreamed(content, frame, declared=len(frame) - change * (number >= 4))
    implicit = content[start + 4 : start + 6] not in (b"OW", b"OB")
    field = start + (4 if implicit else 8)
    order = ">L" if _syntax_of(content) == BIG_ENDIAN else "<L"
    (length,) = struct.unpack_from(order, content, field)
    value = content[field + 4 : field + 4 + length]
    value = value[:change] if change < 0 else value + bytes([7] * change)
    said = length + change * (number < 4)
    return content[:field] + struct.pack(order, said) + value


def _swapped_syntax(content: bytes, number: int, rng: random.Random) -> bytes:
    """Name another transfer syntax and leave the rest as it is."""
    end = _meta_end(content)
    start = content.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack_from("<H", content, start + 6)
    uid = SYNTAXES[number].encode()
    uid += b"\0" * (len(uid) % 2)
    element = content[start : start + 6] + struct.pack("<H", len(uid)) + uid
    meta = content[144:start] + element + content[start + 8 + length : end]
    return content[:140] + struct.pack("<L", len(meta)) + meta + content[end:]


def _deleted_tag(content: bytes, number: int, rng: random.Random) -> bytes:
    return _rewritten(pydicom.dcmread(io.BytesIO(content)), **{DELETED[number]: None})


def _wrong_tag(content: bytes, number: int, rng: random.Random) -> bytes:
    return _rewritten(pydicom.dcmread(io.BytesIO(content)), **WRONG_TAGS[number])


def _rewritten(ds: pydicom.FileDataset, **tags: object) -> bytes:
    """Write a data set anew with other values; padding to even lengths is the writer's."""
    for keyword, value in tags.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds)
    return buffer.getvalue()


def _restreamed(content: bytes, frame: bytes, declared: int | None = None) -> bytes:
    """Put another codestream into the file, with the lengths around it right unless declared."""
    start = _pixels_at(content)
    if declared is None:
        frame += b"\0" * (len(frame) % 2)
        declared = len(frame)
    items = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + struct.pack("<L", declared) + frame
    return content[: start + 12] + items + b"\xfe\xff\xdd\xe0\0\0\0\0"


def _frame(content: bytes) -> bytes:
    return read_source(content, LIMITS).frame


def _cut_stream(content: bytes, number: int, rng: random.Random) -> bytes:
    frame = _frame(content)
    return _restreamed(content, frame[: int(len(frame) * CUTS[number])])


def _cut_stream_new_end(content: bytes, number: int, rng: random.Random) -> bytes:
    frame = _frame(content)
    return _restreamed(
        content, frame[: int(len(frame) * CUTS[number])].rstrip(b"\xff") + b"\xff\xd9"
    )


def _hole(content: bytes, number: int, rng: random.Random) -> bytes:
    frame, size = _frame(content), (2, 16, 100, 500, 2000, 5000)[number]
    place = rng.randrange(600, len(frame) - size)
    return _restreamed(content, frame[:place] + frame[place + size :])


def _insertion(content: bytes, number: int, rng: random.Random) -> bytes:
    frame, size = _frame(content), (2, 16, 100, 500, 2000, 5000)[number]
    place = rng.randrange(600, len(frame) - 16)
    return _restreamed(content, frame[:place] + rng.randbytes(size) + frame[place:])


def _fragment_length(content: bytes, number: int, rng: random.Random) -> bytes:
    start = _pixels_at(content) + 12  # the basic offset table's item
    (table,) = struct.unpack_from("<L", content, start + 4)
    place = (start + 4, start + 8 + table + 4, start + 8 + table + 5, start + 8 + table + 6)[number]
    return _replace(content, place, rng)


def _deflate_bomb(content: bytes, number: int, rng: random.Random) -> bytes:
    """Put a data set of zeros, or a bomb behind the true one, into the deflated part."""
    end = _meta_end(content)
    size = (65, 96, 192)[number % 3] * 2**20
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    true = zlib.decompress(content[end:], -zlib.MAX_WBITS) if number >= 3 else b""
    packed = packer.compress(true) + b"".join(
        packer.compress(bytes(2**20)) for _ in range(size >> 20)
    )
    return content[:end] + packed + packer.flush()


_DAMAGES = {
    "cut_file": _cut_file,
    "header_flip": _header_flip,
    "payload_flip": _payload_flip,
    "preamble": _preamble,
    "odd_length": _odd_length,
    "swapped_syntax": _swapped_syntax,
    "deleted_tag": _deleted_tag,
    "wrong_tag": _wrong_tag,
    "cut_stream": _cut_stream,
    "cut_stream_new_end": _cut_stream_new_end,
    "hole": _hole,
    "insertion": _insertion,
    "fragment_length": _fragment_length,
    "deflate_bomb": _deflate_bomb,
}


# ---- the verdict


def judge(task: dict) -> tuple[dict, None]:
    """Decode a damaged file in full and reduced; `same`, the reason of its refusal, or `wrong`."""
    case = Case(**task)
    content = damage(case)
    verdicts = []
    for target_px in (None, 64):
        try:
            pixels = codecs.decode(read_source(content, LIMITS), target_px).pixels
        except FileFault as error:
            verdicts.append(error.reason)
            continue
        same = np.array_equal(pixels, reference(case.base, target_px))
        verdicts.append("same" if same else "wrong")
    return {"verdict": "wrong" if "wrong" in verdicts else verdicts[0]}, None


def run(corpus: list[Case], processes: int) -> Iterator[tuple[Case, str]]:
    """Judge every case in worker processes; a lost worker is a refusal."""
    tasks = [vars(case) for case in corpus]
    for outcome in run_tasks(
        "support.fuzz:judge", tasks, processes, Bounds(timeout_s=60, memory_mb=3000)
    ):
        verdict = outcome.fault.reason if outcome.fault else outcome.facts["verdict"]
        yield Case(**outcome.task), verdict


def main() -> int:
    """Run the corpus, or show one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="show one case only")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    corpus = cases()
    if arguments.case is not None:
        case = corpus[arguments.case]
        print(case, judge(vars(case))[0]["verdict"])
        return 0
    number = {case: place for place, case in enumerate(corpus)}
    results = dict(tqdm(run(corpus, arguments.processes), total=len(corpus), unit="file"))
    for family in _DAMAGES:
        counts = Counter(verdict for case, verdict in results.items() if case.family == family)
        print(f"{family}: {sum(counts.values())}: {dict(sorted(counts.items()))}")
    wrong = sorted((case for case in results if results[case] == "wrong"), key=number.__getitem__)
    for case in wrong:
        kind = "undetectable" if case.payload else "SILENT WRONG"
        print(f"{kind}: case {number[case]}: {case.base} {case.family} {case.number}")
    flips = sum(case.payload for case in corpus)
    changed = sum(case.payload for case in wrong)
    print(
        f"altered payload that leaves markers and lengths valid may pass: {changed} of {flips} "
        f"did; they are {flips / len(corpus):.0%} of all"
    )
    print(f"silent wrong: {len(wrong) - changed} of {len(corpus)}")
    return int(len(wrong) > changed or flips > 0.3 * len(corpus))


if __name__ == "__main__":
    sys.exit(main())
