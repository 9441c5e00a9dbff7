"""Expose synthetic mammograms and write them as MG DICOM files; the only writer of DICOM here.

Brightness becomes stored values under a scale and display window that vary from image to image, so
that the class can't be read off the mean grey value.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from mammo.phantom.drawing import Picture, draw_picture
from mammo.phantom.frame import HEIGHT_MM
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import VIEWS, PlannedImage

STUDY_DATE = "20200101"

# The exposure: brightness to stored values, and the window that shows them.


@dataclass(frozen=True)
class Unit:
    """An acquisition system: how it stores and shows its images."""

    transfer_syntax_uid: UID
    bits_stored: int
    photometric_interpretation: str
    voi_lut_function: str | None
    windows: int
    manufacturer: str


@dataclass(frozen=True)
class Exposure:
    """Stored values and the first window over them, in stored values (PS3.3 C.11.2)."""

    pixels: np.ndarray  # (rows, columns) uint16
    window_center: int
    window_width: int


def choose_unit(patient: int) -> Unit:
    """Choose the unit of a patient; any 12 patients in a row cover all ways to store an image."""
    syntaxes = (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
    makers = ("Phantom Alpha", "Phantom Beta", "Phantom Gamma")
    functions = (None, "LINEAR", "SIGMOID", None, "SIGMOID")
    return Unit(
        transfer_syntax_uid=syntaxes[patient % 3],
        bits_stored=(12, 14)[patient % 2],
        photometric_interpretation=("MONOCHROME2", "MONOCHROME1")[patient // 2 % 2],
        voi_lut_function=functions[patient % 5],
        windows=3 if patient % 5 in (3, 4) else 1,
        manufacturer=makers[patient % 3],
    )


def expose(picture: Picture, image: PlannedImage, unit: Unit, params: PhantomParams) -> Exposure:
    """Turn brightness into stored values with noise, each image with its own scale and window."""
    rng = np.random.default_rng([params.seed, 3, image.patient, VIEWS.index(image.side_and_view)])
    spread = params.exposure_spread
    top = 2**unit.bits_stored - 1
    base = 0.06 + spread * rng.uniform(-0.03, 0.08)
    span = 0.62 * (1 + spread * rng.uniform(-0.35, 0.25))
    gamma = math.exp(spread * rng.uniform(-0.3, 0.3))
    noise = rng.uniform(0.002, 0.005)
    tone = _tone(picture, spread * rng.uniform(0.3, 0.8))  # (n,), the pixels of the breast

    value = np.zeros_like(picture.signal)
    if unit.bits_stored == 14:  # the other units blank the air
        value += 0.2 * noise * rng.standard_normal(value.shape, np.float32)
    exposed = base + span * tone**gamma
    value[picture.breast] = exposed + noise * rng.standard_normal(tone.shape, np.float32)
    pixels = np.rint(np.clip(value, 0, 1) * top).astype(np.uint16)

    # halfway between a fixed window and one that follows the breast's own brightness
    middle = 0.5 * (0.5 + float(np.median(tone)))
    width = span * (1 + spread * rng.uniform(-0.15, 0.35))
    center = base + span * middle**gamma + spread * rng.uniform(-0.12, 0.12) * width
    window_center = round(center * top)
    if unit.photometric_interpretation == "MONOCHROME1":
        # a window is centred on c - 0.5 (PS3.3 C.11.2.1.2.1), so it mirrors about the same half
        pixels, window_center = top - pixels, top + 1 - window_center
    return Exposure(pixels, window_center, max(round(width * top), 2))


def _tone(picture: Picture, equalisation: float) -> np.ndarray:
    """Mix brightness with its rank in the breast, as makers' contrast equalisation does.

    Returns (n,) float32, one value a pixel of the breast.
    """
    values = picture.signal[picture.breast]
    counts, edges = np.histogram(values, bins=512)
    rank = np.interp(values, edges[1:], np.cumsum(counts) / values.size).astype(np.float32)
    tone: np.ndarray = (1 - equalisation) * values + equalisation * rank
    return tone


# The file.


def write_image(image: PlannedImage, folder: Path, params: PhantomParams) -> float:
    """Draw one image and write its file; return the share of its breast that is dense."""
    unit = choose_unit(image.patient)
    picture = draw_picture(image, params)
    dataset = mammogram_dataset(image, expose(picture, image, unit, params), unit, params)
    dataset.save_as(folder / image.path, enforce_file_format=True)
    return picture.dense_share


def mammogram_dataset(
    image: PlannedImage, exposure: Exposure, unit: Unit, params: PhantomParams
) -> Dataset:
    """Build a Digital Mammography X-Ray Image For Presentation.

    Source: PS3.3 A.27 (IOD), C.8.11.2 to C.8.11.7 (DX and mammography modules).
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    _set_study(dataset, image, unit, params)
    _set_acquisition(dataset, image, params)
    _set_pixels(dataset, exposure, unit)
    _compress(dataset, exposure.pixels, unit)
    return dataset


def _uid(params: PhantomParams, *names: str) -> str:
    return generate_uid(entropy_srcs=[params.model_dump_json(), *names])


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return code


def _set_study(dataset: Dataset, image: PlannedImage, unit: Unit, params: PhantomParams) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = _uid(params, image.path)
    dataset.StudyInstanceUID = _uid(params, image.patient_id)
    dataset.SeriesInstanceUID = _uid(params, image.patient_id, "series")
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{name}Date", STUDY_DATE)
        setattr(dataset, f"{name}Time", "120000")
    dataset.AccessionNumber = f"{image.patient:08d}"
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = unit.manufacturer
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = ""
    dataset.PatientID = image.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "F"
    age = np.random.default_rng([params.seed, 5, image.patient]).integers(40, 80)
    dataset.PatientAge = f"{age:03d}Y"
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = VIEWS.index(image.side_and_view) + 1


def _set_acquisition(dataset: Dataset, image: PlannedImage, params: PhantomParams) -> None:
    spacing = round(HEIGHT_MM / params.rows, 6)
    # rows run from the chest wall in a left breast, to it in a right one (PS3.3 C.7.6.1.1.1)
    down = {"CC": {"L": "R", "R": "L"}, "MLO": {"L": "FR", "R": "FL"}}[image.view]
    dataset.PatientOrientation = [{"L": "A", "R": "P"}[image.laterality], down[image.laterality]]
    dataset.ImageLaterality = image.laterality
    dataset.ViewPosition = image.view
    view = {
        "CC": _code("399162004", "cranio-caudal"),
        "MLO": _code("399368009", "medio-lateral oblique"),
    }[image.view]
    view.ViewModifierCodeSequence = Sequence()
    dataset.ViewCodeSequence = Sequence([view])
    dataset.AnatomicRegionSequence = Sequence([_code("76752008", "Breast")])
    dataset.BodyPartExamined = dataset.OrganExposed = "BREAST"
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.PositionerPrimaryAngle = {"CC": 0, "MLO": 45}[image.view]
    dataset.DetectorType = "DIRECT"
    dataset.KVP = 29
    dataset.DistanceSourceToDetector = 660
    dataset.DistanceSourceToPatient = 640
    dataset.EstimatedRadiographicMagnificationFactor = round(660 / 640, 4)
    dataset.AnodeTargetMaterial = "TUNGSTEN"
    dataset.FilterMaterial = "RHODIUM"
    dataset.ImagerPixelSpacing = dataset.PixelSpacing = [spacing, spacing]
    dataset.BreastImplantPresent = "NO"
    dataset.PartialView = "NO"
    dataset.QualityControlImage = "NO"
    dataset.AcquisitionContextSequence = Sequence()


def _set_pixels(dataset: Dataset, exposure: Exposure, unit: Unit) -> None:
    inverse = unit.photometric_interpretation == "MONOCHROME1"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = unit.photometric_interpretation
    dataset.Rows, dataset.Columns = exposure.pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = unit.bits_stored
    dataset.HighBit = unit.bits_stored - 1
    dataset.PixelRepresentation = 0
    # the only rescale that the DX Image module allows (PS3.3 C.8.11.3)
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverse else -1
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    center, width = exposure.window_center, exposure.window_width
    if unit.windows == 1:
        dataset.WindowCenter, dataset.WindowWidth = center, width
    else:
        dataset.WindowCenter = [center, center, center]
        dataset.WindowWidth = [width, round(0.8 * width), round(1.25 * width)]
        dataset.WindowCenterWidthExplanation = ["NORMAL", "HARDER", "SOFTER"]
    if unit.voi_lut_function:
        dataset.VOILUTFunction = unit.voi_lut_function


def _compress(dataset: Dataset, pixels: np.ndarray, unit: Unit) -> None:
    """Set PixelData in the unit's transfer syntax.

    pydicom would need a plugin for JPEG 2000, and its RLE encoder takes 0.25 s an image.
    """
    dataset.file_meta.TransferSyntaxUID = unit.transfer_syntax_uid
    if unit.transfer_syntax_uid == ExplicitVRLittleEndian:
        dataset.PixelData = pixels.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        return
    if unit.transfer_syntax_uid == RLELossless:
        frame = _encode_rle(pixels)
    else:
        frame = _encode_jpeg2000(pixels, unit.bits_stored)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def _encode_jpeg2000(pixels: np.ndarray, bits_stored: int) -> bytes:
    """Encode (H, W) uint16 as a reversible codestream without the JP2 wrapper (PS3.5 A.4.4)."""
    stream = imagecodecs.jpeg2k_encode(
        pixels, codecformat="j2k", reversible=True, bitspersample=bits_stored
    )
    return bytes(stream)


def _encode_rle(pixels: np.ndarray) -> bytes:
    """Encode (H, W) uint16: two PackBits segments, high bytes first, row by row (PS3.5 Annex G)."""
    planes = (pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)
    segments = [bytes(imagecodecs.packbits_encode(plane, axis=-1)) for plane in planes]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(segments[0])
    return header.tobytes() + b"".join(segments)
