"""`mammo inspect FILE`: what ingestion would do with a file or folder, and why; needs no table."""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pydicom.uid import UID

from mammo import paths
from mammo.datasets.rows import ImageRow
from mammo.dicom import codestream, greyscale
from mammo.dicom.header import Header
from mammo.dicom.params import Limits
from mammo.errors import FileFault, UserError
from mammo.ingest.acceptance import completed, own_faults
from mammo.ingest.inspection import Inspection, inspect_file
from mammo.ingest.params import IngestParams
from mammo.ingest.sieve import Sieve
from mammo.params import load_params
from mammo.predict.intake import TABLE_SUFFIXES, find_sources
from mammo.preprocess.image import Image, Prepared, prepare, read_image
from mammo.preprocess.params import PreprocessParams
from mammo.storage.files import write_bytes

_OUTLINE = (80, 200, 255)  # blue, green, red


@dataclass(frozen=True)
class Rules:
    """The sections of params.yaml, or of a bundle, that decide."""

    ingest: IngestParams
    preprocess: PreprocessParams
    limits: Limits


def main(argv: Sequence[str] | None = None) -> None:
    """Print a report of each file, and write its picture where asked.

    Raises:
        UserError: There is no such file or folder, or params.yaml is wrong.
    """
    parser = argparse.ArgumentParser("mammo inspect", description=__doc__.splitlines()[0])
    parser.add_argument(
        "place", type=paths.expanded, metavar="FILE", help="a file, or a folder of any depth"
    )
    parser.add_argument(
        "--png",
        type=paths.expanded,
        metavar="FOLDER",
        help="write each prepared picture with its outline",
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--params",
        type=paths.expanded,
        default=paths.PARAMS,
        help="whose rules; default: params.yaml",
    )
    whose.add_argument(
        "--bundle", type=paths.expanded, metavar="FOLDER", help="the rules of a bundle"
    )
    options = parser.parse_args(argv)
    rules = _rules(options.params, options.bundle)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names come from outside
    root, rows = _rows(options.place)
    for row in rows:
        lines, prepared = [f"rejected     {row.reason}: {row.detail}"], None
        if not row.reason:
            lines, prepared = report(root, row.path, rules)
        sys.stdout.write("\n".join([row.path, *(f"  {line}" for line in lines)]) + "\n")
        if options.png is not None and prepared is not None:
            path = options.png / f"{row.path}.png"
            write_bytes(cv2.imencode(".png", picture(prepared))[1].tobytes(), path)
            sys.stdout.write(f"  picture      {path}\n")


def _rules(params: Path, bundle: Path | None) -> Rules:
    if bundle is not None:
        from mammo.predict.bundle import read_bundle  # it brings PyTorch

        opened = read_bundle(bundle)
        return Rules(opened.ingest, opened.preprocess, opened.limits)
    if not params.is_file():
        raise UserError(
            f"{params}: not found; name the params.yaml of a project (--params) or a bundle "
            "(--bundle), whose rules are to be used"
        )
    return Rules(
        load_params("ingest", IngestParams, params),
        load_params("preprocess", PreprocessParams, params),
        load_params("dicom", Limits, params),
    )


def _rows(place: Path) -> tuple[Path, list[ImageRow]]:
    if place.suffix.lower() in TABLE_SUFFIXES and place.is_file():  # looked at, not read as a table
        return place.parent, [ImageRow(place.name)]
    sources = find_sources(place)
    return sources.root, sources.rows


def report(root: Path, name: str, rules: Rules) -> tuple[list[str], Prepared | None]:
    """Say what would become of one file: lines of text, and the prepared image if there is one."""
    inspection = inspect_file(root, name, rules.limits)
    candidate = completed(inspection, ImageRow(name))
    sieve = Sieve(rules.ingest.policies)
    judged = sieve.judge(candidate, own_faults(candidate))
    faults = list(own_faults(candidate))
    lines = [*_header_lines(inspection)]
    fault: FileFault | None = None
    prepared = None
    if inspection.fault is None:
        try:
            content = (root / name).read_bytes()
            lines, prepared = _look(content, inspection, candidate.row.laterality, rules, lines)
        except FileFault as found:
            fault = found
    refused = [f for f in faults if not sieve.flags(f.reason)]
    verdict = refused[0] if judged is None else fault
    flags = sorted({*(judged.flags if judged else ()), *(prepared.flags if prepared else ())})
    head = f"rejected     {verdict.reason}: {verdict.detail}" if verdict else "accepted"
    more = [f"also         {f.reason}: {f.detail}" for f in refused[1:]]
    return [head, *more, *lines, f"flags        {', '.join(flags) or 'none'}"], prepared


def _header_lines(inspection: Inspection) -> Iterator[str]:
    header = inspection.header
    if header is None:
        if inspection.transfer_syntax_uid:
            yield f"kind         {inspection.transfer_syntax_uid}, no header"
        return
    syntax = header.transfer_syntax_uid
    yield f"syntax       {codestream.name_of(syntax)} ({syntax})"
    yield f"object       {_named(header.sop_class_uid)}, Modality {header.modality or 'absent'}"
    yield f"view         {_view(header)}"
    yield (
        f"pixels       {header.rows} x {header.columns}, {header.bits_stored} of "
        f"{header.bits_allocated} bits, {header.photometric_interpretation}, "
        f"{header.number_of_frames} frame(s)"
    )
    yield f"intent       {header.presentation_intent_type or 'absent'}"
    yield f"maker        {header.manufacturer or 'absent'}"


def _named(sop_class_uid: str) -> str:
    return UID(sop_class_uid).name if sop_class_uid else "no SOP class"


def _view(header: Header) -> str:
    facts = [header.image_laterality or "no side", header.view_position or "no view"]
    facts += [meaning or code for _, code, meaning in header.view_modifiers]
    if header.magnification_factor is not None:
        facts.append(f"magnification {header.magnification_factor:g}")
    return ", ".join(facts)


def _look(
    content: bytes, inspection: Inspection, laterality: str, rules: Rules, lines: list[str]
) -> tuple[list[str], Prepared]:
    """Decode and prepare; add what was found.

    Raises:
        FileFault: The pixels can't be used.
    """
    params = rules.preprocess.for_manufacturer(inspection.manufacturer)
    image = read_image(content, inspection.transfer_syntax_uid, params, rules.limits)
    side = image.side or {"L": "left", "R": "right"}.get(laterality, "")
    prepared = prepare(image.pixels, image.grey, params, side, image.extent)
    return [*lines, *_found_lines(image, prepared, inspection, params)], prepared


def _found_lines(
    image: Image, prepared: Prepared, inspection: Inspection, params: PreprocessParams
) -> Iterator[str]:
    grey = image.grey
    there = [f"{len(grey.voi_luts)} LUTs", f"{len(grey.windows)} windows"]
    tried = ", ".join(
        f"{choice.kind} {choice.number}" if choice.kind in ("lut", "window") else choice.kind
        for choice in greyscale.choices(grey, params.voi, params.voi_index)
    )
    yield f"grey scale   {prepared.voi}, the first that shows the breast of: {tried}"
    yield f"in the file  {', '.join(there)}"
    found, scale = prepared.found, inspection.rows / image.pixels.shape[0]
    top, bottom, left, right = (round(side * scale) for side in found.box)
    yield (
        f"breast       rows {top} to {bottom}, columns {left} to {right}, "
        f"{found.mask.mean():.0%} of the image"
    )
    disagree = "" if prepared.chest_wall == prepared.pixels_say else ": the header decides"
    yield (
        f"chest wall   {prepared.chest_wall} (pixels say {prepared.pixels_say}, header "
        f"{image.side or inspection_side(inspection)}{disagree})"
    )


def inspection_side(inspection: Inspection) -> str:
    """Name the side that the header's laterality puts the chest wall on."""
    side = inspection.header.image_laterality if inspection.header else ""
    return {"L": "left", "R": "right"}.get(side, "is silent")


def picture(prepared: Prepared) -> np.ndarray:
    """Draw the prepared image with the breast's outline: (size_px, size_px, 3) uint8."""
    tensor = prepared.tensor
    grey = tensor if tensor.dtype == np.uint8 else (tensor >> 8).astype(np.uint8)
    drawn = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    contours, _ = cv2.findContours(
        prepared.outline.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return cv2.drawContours(drawn, contours, -1, _OUTLINE, 1)
