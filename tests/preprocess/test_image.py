import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from pydicom.dataset import Dataset

from mammo.dicom.codecs import decode
from mammo.dicom.source import read_source
from mammo.errors import FileFault
from mammo.preprocess.image import parted, prepare, prepare_file, widened
from mammo.preprocess.params import PreprocessParams
from support.dicom_files import EXPLICIT, JPEG_2000, LOSSLESS, breast_pixels, dicom_bytes
from support.preprocessing import LIMITS, PARAMS

PIXELS = breast_pixels(rows=256, columns=160)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def prepared(tmp_path: Path, content: bytes, kind: str = EXPLICIT, **changes):
    path = tmp_path / "image"
    path.write_bytes(content)
    task = {
        "path": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "kind": kind,
        "laterality": changes.pop("laterality", "L"),
        "manufacturer": changes.pop("manufacturer", ""),
        "params": PARAMS.model_copy(update=changes).model_dump(),
        "limits": LIMITS.model_dump(),
    }
    facts, row = prepare_file(task)
    tensor, outline = parted(row, PARAMS.model_copy(update=changes))
    bits = np.unpackbits(outline, axis=-1, count=len(tensor))
    assert bits.shape == tensor.shape
    return facts, tensor


def test_the_tensor_shows_the_windowed_breast_at_the_left_border(tmp_path):
    facts, tensor = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW))
    assert facts == {"chest_wall": "left", "pixels_say": "left", "voi": "window", "flags": []}
    assert tensor.shape == (64, 64) and tensor.dtype == np.uint8
    # The breast is 204 x 112 pixels: 64 rows, 35 columns, the rest padding on the right.
    assert tensor[32, :30].min() > 40
    assert tensor[:, 38:].max() == 0
    inside = PIXELS[PIXELS > 0]
    assert abs(tensor[32, 2:28].mean() / 255 - inside.mean() / 4095) < 0.05


@pytest.mark.parametrize(("turned", "crop"), [(False, True), (True, True), (True, False)])
def test_the_outline_lies_on_the_breast_of_the_tensor(turned, crop):
    pixels = PIXELS[:, ::-1] if turned else PIXELS
    source = read_source(dicom_bytes(np.ascontiguousarray(pixels), **WINDOW), LIMITS)
    params = PARAMS.model_copy(update={"crop": crop})
    image = prepare(decode(source, None).pixels, source.grey, params)
    assert image.outline.dtype == bool
    breast = image.tensor > 12
    assert (image.outline & breast).sum() > 0.95 * (image.outline | breast).sum()


def test_a_mirrored_breast_gives_the_same_tensor(tmp_path):
    _, left = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW))
    mirrored = dicom_bytes(PIXELS[:, ::-1].copy(), **WINDOW)
    facts, right = prepared(tmp_path, mirrored, laterality="R")
    assert facts["chest_wall"] == "right"
    assert np.abs(left.astype(int) - right).max() <= 12  # the box may differ by a pixel
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.99


def test_monochrome1_gives_the_same_tensor_as_its_negative(tmp_path):
    _, two = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW))
    negative = (4095 - PIXELS).astype(np.uint16)
    content = dicom_bytes(negative, PhotometricInterpretation="MONOCHROME1", **WINDOW)
    _, one = prepared(tmp_path, content)
    assert np.abs(one.astype(int) - two).max() <= 1


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_the_tensor_does_not_depend_on_the_encoding(tmp_path, syntax):
    _, reference = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW), reduced_decode=False)
    content = dicom_bytes(PIXELS, syntax, **WINDOW)
    _, tensor = prepared(tmp_path, content, reduced_decode=False)
    np.testing.assert_array_equal(tensor, reference)


def test_reduced_decoding_gives_nearly_the_same_tensor(tmp_path):
    content = dicom_bytes(breast_pixels(rows=1024, columns=640), JPEG_2000, **WINDOW)
    _, full = prepared(tmp_path, content, reduced_decode=False)
    _, reduced = prepared(tmp_path, content, reduced_decode=True)
    assert not np.array_equal(full, reduced)
    assert np.corrcoef(full.ravel(), reduced.ravel())[0, 1] > 0.98
    assert abs(full.mean() - reduced.mean()) < 2


def test_percentiles_leave_padding_out(tmp_path):
    pixels = PIXELS.copy()
    pixels[:, 150:] = 4095  # a bright pad that would swallow half of the grey scale
    padded = dicom_bytes(pixels, PixelPaddingValue=4095)
    facts, tensor = prepared(tmp_path, padded)
    _, clean = prepared(tmp_path, dicom_bytes(PIXELS))
    assert facts["voi"] == "percentiles"
    np.testing.assert_array_equal(tensor, clean)
    assert clean.max() > 240


def test_uint16_holds_the_full_scale(tmp_path):
    _, tensor = prepared(tmp_path, dicom_bytes(PIXELS), dtype="uint16")
    assert tensor.dtype == np.uint16 and tensor.max() > 60_000


def test_without_crop_the_whole_image_is_kept(tmp_path):
    _, tensor = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW), crop=False)
    # 256 x 160 becomes 64 x 40; the breast ends at 0.7 * 40 = 28 and has 10 % of black above
    assert tensor[:5].max() == 0 and tensor[32, 26] > 40 and tensor[:, 30:].max() == 0


def test_a_voi_that_the_file_lacks_is_refused(tmp_path):
    with pytest.raises(FileFault, match="voi_absent"):
        prepared(tmp_path, dicom_bytes(PIXELS), voi="lut")


def test_a_png_is_taken_as_it_is(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray((PIXELS // 16).astype(np.uint8)).save(path)
    facts, tensor = prepared(tmp_path, path.read_bytes(), "PNG")
    _, dicom = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW))
    assert facts["voi"] == "none"
    assert np.corrcoef(tensor.ravel(), dicom.ravel())[0, 1] > 0.999


def test_a_negative_is_flagged(tmp_path):
    grey = (PIXELS >> 4).astype(np.uint8)
    for pixels, flags in ((grey, []), (250 - grey, ["bright_corners"])):
        picture = tmp_path / "a.png"
        Image.fromarray(pixels).save(picture)
        facts, _ = prepared(tmp_path, picture.read_bytes(), "PNG", laterality="")
        assert facts["flags"] == flags


def test_a_file_changed_since_ingest_is_refused(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(dicom_bytes(PIXELS))
    task = {"path": str(path), "sha256": "0" * 64, "kind": EXPLICIT}
    task |= {"laterality": "L", "manufacturer": ""}
    task |= {"params": PARAMS.model_dump(), "limits": LIMITS.model_dump()}
    with pytest.raises(FileFault, match="changed_since_ingest"):
        prepare_file(task)
    with pytest.raises(FileFault, match="unreadable_file"):
        prepare_file(task | {"path": str(tmp_path / "gone")})


# ---- the breast after the grey scale


@pytest.mark.parametrize(
    ("window", "fault"),
    [
        ({"WindowCenter": 128, "WindowWidth": 256}, "window_saturated"),  # of an 8-bit copy
        ({"WindowCenter": 32768, "WindowWidth": 65536}, "window_constant"),  # of a 16-bit one
        ({"WindowCenter": 0.456, "WindowWidth": 0.913}, "window_invalid"),
        ({"WindowCenter": [1, 2], "WindowWidth": 5}, "window_invalid"),
    ],
)
def test_a_window_that_shows_nothing_gives_way_and_is_flagged(tmp_path, window, fault):
    facts, tensor = prepared(tmp_path, dicom_bytes(PIXELS, **window))
    assert facts["voi"] == "percentiles" and fault[:6] == "window"
    assert facts["flags"] in ([fault], ["window_constant"])  # a step is both
    _, without = prepared(tmp_path, dicom_bytes(PIXELS))
    np.testing.assert_array_equal(tensor, without)
    with pytest.raises(FileFault, match="window_"):
        prepared(tmp_path, dicom_bytes(PIXELS, **window), voi="window")


def test_another_window_goes_before_percentiles(tmp_path):
    windows = {"WindowCenter": [32768, 2048], "WindowWidth": [65536, 4096]}
    facts, tensor = prepared(tmp_path, dicom_bytes(PIXELS, **windows))
    _, good = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW))
    assert (facts["voi"], facts["flags"]) == ("window", ["window_constant"])
    np.testing.assert_array_equal(tensor, good)


def test_broken_attributes_that_are_not_chosen_do_no_harm(tmp_path):
    broken = dicom_bytes(PIXELS, WindowCenter=[1, 2], WindowWidth=5)
    facts, _ = prepared(tmp_path, broken, voi="percentiles")
    assert facts["flags"] == []


def test_a_lut_of_fewer_bits_than_it_says_is_shown_in_full(tmp_path):
    tensors = []
    for bits in (12, 16):
        item = Dataset()
        item.LUTDescriptor = [4096, 0, bits]
        item.LUTData = np.arange(4096, dtype="<u2").tobytes()
        facts, tensor = prepared(tmp_path, dicom_bytes(PIXELS, VOILUTSequence=[item]))
        assert facts["voi"] == "lut"
        assert facts["flags"] == (["depth_from_data"] if bits == 16 else [])
        tensors.append(tensor)
    np.testing.assert_array_equal(*tensors)


def test_a_16_bit_picture_of_12_bit_values_is_shown_in_full(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    facts, tensor = prepared(tmp_path, path.read_bytes(), "PNG")
    assert facts["flags"] == ["depth_from_data"] and tensor.max() > 150
    facts, _ = prepared(tmp_path, path.read_bytes(), "PNG", voi="percentiles")
    assert facts["voi"] == "percentiles"  # an explicit voi is obeyed
    with pytest.raises(FileFault, match="voi_absent"):
        prepared(tmp_path, path.read_bytes(), "PNG", voi="window")


@pytest.mark.parametrize("level", [0, 900])
def test_a_blank_exposure_is_quarantined(tmp_path, level):
    noise = np.random.default_rng(0).integers(0, 4, PIXELS.shape)
    with pytest.raises(FileFault, match=r"no_breast|no_contrast"):
        prepared(tmp_path, dicom_bytes((level + noise).astype(np.uint16)))


# ---- orientation, background, makers


def test_the_header_decides_on_the_chest_wall_unless_pixels_shall(tmp_path):
    content = dicom_bytes(PIXELS, **WINDOW)
    facts, tensor = prepared(tmp_path, content, laterality="R")
    assert (facts["chest_wall"], facts["pixels_say"]) == ("right", "left")
    assert facts["flags"] == ["chest_wall_against_laterality"]
    own, as_seen = prepared(tmp_path, content, laterality="R", orientation="pixels")
    assert own["chest_wall"] == "left" and own["flags"] == facts["flags"]
    assert not np.array_equal(tensor, as_seen)
    oriented = dicom_bytes(PIXELS, PatientOrientation=["A", "F"], **WINDOW)
    facts, _ = prepared(tmp_path, oriented, laterality="R")
    assert facts["chest_wall"] == "left" and facts["flags"] == []


def test_a_black_background_leaves_the_skin(tmp_path):
    pixels = PIXELS.copy()
    pixels[4:14, 130:156] = 3000  # a label in the corner of the box
    pixels[30:36, 100:110] = 3000
    content = dicom_bytes(pixels, **WINDOW)
    _, kept = prepared(tmp_path, content, crop=False)
    _, black = prepared(tmp_path, content, crop=False, background="zero")
    _, clean = prepared(tmp_path, dicom_bytes(PIXELS, **WINDOW), crop=False)
    assert kept[1:3, 33:38].min() > 100 and black[1:3, 33:38].max() == 0
    lost = (clean > 12) & (black == 0)
    assert lost.sum() < 0.01 * (clean > 12).sum()


@pytest.mark.shared
def test_a_black_background_costs_less_than_a_hundredth_of_real_breasts(shared):
    paths = sorted((shared / "data/cdd-cesm/dicom").glob("*/*.dcm"))[::60]
    for path in paths:
        source = read_source(path, LIMITS)
        image = prepare(decode(source, 64).pixels, source.grey, PARAMS)
        skin = widened(image.outline)
        bright = image.tensor > np.median(image.tensor[~skin]) + 3
        beside = cv2.dilate(skin.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        lost = (bright & beside & ~skin).sum()
        assert lost < 0.01 * image.outline.sum(), path.name


def test_a_maker_may_have_a_grey_scale_of_its_own(tmp_path):
    maker = {"manufacturer": "hologic", "voi": "percentiles", "voi_index": 0}
    params = PreprocessParams.model_validate(PARAMS.model_dump() | {"by_manufacturer": [maker]})
    assert params.for_manufacturer("HOLOGIC, Inc.").voi == "percentiles"
    assert params.for_manufacturer("GE").voi == "auto"
    entries = params.by_manufacturer
    content = dicom_bytes(PIXELS, **WINDOW)
    own, _ = prepared(tmp_path, content, manufacturer="HOLOGIC", by_manufacturer=entries)
    other, _ = prepared(tmp_path, content, manufacturer="GE", by_manufacturer=entries)
    assert (own["voi"], other["voi"]) == ("percentiles", "window")


def test_params_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="percentile_low must be below"):
        PreprocessParams.model_validate(PARAMS.model_dump() | {"percentile_low": 99.9})
