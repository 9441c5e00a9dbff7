"""The synthetic mammograms: what is planned, what is drawn, and what the files say."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from sklearn.metrics import cohen_kappa_score

from mammo.errors import UserError
from mammo.params import parse_params
from mammo.phantom import dataset as phantom
from mammo.phantom.dataset import ceiling, write_phantom
from mammo.phantom.dicom_writer import Exposure, Unit, choose_unit, expose, mammogram_dataset
from mammo.phantom.drawing import Picture, draw_picture
from mammo.phantom.fields import power_law_field
from mammo.phantom.params import PhantomParams
from mammo.phantom.plan import QUARTILES, PlannedImage, plan_images, true_class
from mammo.storage.files import read_table

DEFAULT = {
    "seed": 1,
    "images": 400,
    "class_shares": {"A": 40, "B": 363, "C": 849, "D": 335},
    "min_patients": 5,
    "rows": 800,
    "columns": 640,
    "spectral_exponent": 3.0,
    "boundary_margin": 0.04,
    "exposure_spread": 1.0,
    "reader_kappa": 0.8,
}
# 16 patients, so that every way to store an image occurs (any 12 in a row do)
TINY = DEFAULT | {
    "images": 48,
    "class_shares": {"A": 1, "B": 1, "C": 1, "D": 1},
    "min_patients": 4,
    "rows": 160,
    "columns": 128,
    "reader_kappa": 1.0,
}


def parse(values: dict) -> PhantomParams:
    return parse_params("phantom", values, PhantomParams)


PARAMS = parse(TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "phantom"
    write_phantom(folder, PARAMS)
    return folder


@pytest.fixture(scope="module")
def pictures() -> dict[PlannedImage, Picture]:
    return {image: draw_picture(image, PARAMS) for image in plan_images(PARAMS)}


@pytest.fixture(scope="module")
def datasets(folder) -> dict[PlannedImage, Dataset]:
    return {image: dcmread(folder / image.path) for image in plan_images(PARAMS)}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---- the plan


def test_the_default_plan_has_the_published_proportions_by_image():
    # 40:363:849:335 of 1587; of 200 breasts 5.04, 45.75, 106.99, 42.22; largest remainder
    counts = Counter(image.density for image in plan_images(parse(DEFAULT)))
    assert counts == {"A": 10, "B": 92, "C": 214, "D": 84}


def test_the_default_plan_has_five_patients_of_each_class_and_about_a_hundred_in_all():
    images = plan_images(parse(DEFAULT))
    by_class = {d: {i.patient for i in images if i.density == d} for d in "ABCD"}
    # A: 5 breasts of 5 patients; the others two a patient: 46 / 2, 107 / 2, 42 / 2
    assert {d: len(patients) for d, patients in by_class.items()} == {
        "A": 5,
        "B": 23,
        "C": 54,
        "D": 21,
    }
    assert len(set.union(*by_class.values())) == 5 + 23 + 54 + 21  # one class a patient


def test_every_breast_is_seen_in_both_views():
    views: dict[tuple[int, str], set[str]] = {}
    for image in plan_images(parse(DEFAULT)):
        views.setdefault((image.patient, image.laterality), set()).add(image.view)
    assert all(seen == {"CC", "MLO"} for seen in views.values())
    breasts = Counter(patient for patient, _ in views)
    assert set(breasts.values()) == {1, 2}  # four views, or two


def test_patient_numbers_do_not_tell_the_class():
    images = plan_images(parse(DEFAULT))
    for density in "BCD":
        numbers = {image.patient for image in images if image.density == density}
        # the mean of n of 103 numbers drawn at random is 52, give or take 29.7 / sqrt(n)
        assert abs(np.mean(list(numbers)) - 52) < 3 * 29.7 / np.sqrt(len(numbers))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("images", 399, "images must be even"),
        ("images", 200, "class A gets 6 images, too few for min_patients 5"),
        ("class_shares", {}, "class_shares must name one class"),
        ("class_shares", {"E": 1}, "'A', 'B', 'C' or 'D'"),
        ("columns", 400, "columns must be 0.6 to 1 times rows"),
        ("boundary_margin", 0.2, "less than or equal to 0.09"),
        ("reader_kappa", 1.1, "less than or equal to 1"),
        ("size", 3, "phantom.size: unknown key"),
    ],
)
def test_bad_params_are_refused_by_name(key, value, rule):
    with pytest.raises(UserError, match=rule):
        parse(DEFAULT | {key: value})


# ---- the reader


def planned(reader_kappa: float, **others: object) -> list[PlannedImage]:
    return plan_images(parse(DEFAULT | {"reader_kappa": reader_kappa} | others))


def agreement(images: list[PlannedImage], weights: str | None = "quadratic") -> float:
    labels = [image.density for image in images]
    truth = [true_class(image.dense_share) for image in images]
    return cohen_kappa_score(labels, truth, labels=list("ABCD"), weights=weights)


@pytest.mark.parametrize("wanted", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reader_agrees_with_the_truth_as_much_as_asked_for(wanted, seed):
    # one patient of 103 moves kappa by up to .02
    assert agreement(planned(wanted, seed=seed)) == pytest.approx(wanted, abs=0.02)


def test_a_perfect_reader_says_the_class_of_the_dense_share():
    assert agreement(planned(1.0)) == 1


def test_slips_change_no_label_and_leave_as_many_patients_of_each_true_class():
    images, perfect = planned(0.8), planned(1.0)
    assert [i.density for i in images] == [i.density for i in perfect]
    shares = [sorted({(i.patient, i.dense_share) for i in plan}) for plan in (images, perfect)]
    assert shares[0] != shares[1]
    assert sorted(s for _, s in shares[0]) == sorted(s for _, s in shares[1])


def test_a_patient_has_one_label_and_one_dense_share():
    images = planned(0.6)
    patients = {image.patient for image in images}
    assert len({(i.patient, i.density, i.dense_share) for i in images}) == len(patients)


def test_slips_are_likeliest_next_to_the_bounds():
    nearest = {True: [], False: []}  # distance to the nearest bound between classes, by slipped
    for seed in range(5):
        for image in planned(0.8, seed=seed):
            slipped = image.density != true_class(image.dense_share)
            nearest[slipped].append(min(abs(image.dense_share - b) for b in (0.25, 0.5, 0.75)))
    assert np.mean(nearest[True]) < 0.8 * np.mean(nearest[False])


def test_the_ceiling_is_that_of_an_observer_who_knows_the_truth():
    labels, truth = pd.Series(list("AABBCCDD")), pd.Series(list("ABBBCDDD"))
    found = ceiling(labels, truth)
    # 6 of 8 agree; by chance 2/8 x (1 + 3 + 1 + 3)/8 = .25: kappa (.75 - .25) / .75
    assert found["accuracy"] == 0.75
    assert found["kappa"] == pytest.approx(2 / 3)
    assert found["kappa_quadratic"] == cohen_kappa_score(labels, truth, weights="quadratic")
    assert found["true_classes_by_label"]["C"] == {"A": 0, "B": 0, "C": 1, "D": 1}
    assert ceiling(truth, truth)["kappa"] == 1
    one = pd.Series(["C"] * 4)
    assert ceiling(one, one)["kappa_quadratic"] == 1


def test_the_truth_is_the_share_that_was_drawn_and_stays_out_of_the_folder(tmp_path):
    params = parse(TINY | {"reader_kappa": 0.7, "rows": 96, "columns": 80})
    drawn = write_phantom(tmp_path / "phantom", params)
    assert list(drawn.truth["image_path"]) == [image.path for image in plan_images(params)]
    for image, row in zip(plan_images(params), drawn.truth.itertuples(), strict=True):
        assert row.true_class == true_class(image.dense_share)
        assert row.dense_share == pytest.approx(image.dense_share, abs=0.04)
    labels = read_table(tmp_path / "phantom/labels.csv")
    assert list(labels) == ["image_path", "patient_id", "laterality", "view", "density"]
    assert (labels["density"] != drawn.truth["true_class"]).any()
    assert drawn.ceiling == ceiling(labels["density"], drawn.truth["true_class"])


# ---- the pictures


def test_the_dense_share_lies_in_the_quartile_of_the_label_less_the_margin(pictures):
    for image, picture in pictures.items():
        share = picture.dense.sum() / (picture.breast & ~picture.pectoral).sum()
        low, high = QUARTILES[image.density]
        one_pixel = 1 / picture.breast.sum()
        assert low + 0.04 - one_pixel <= share <= high - 0.04 + one_pixel, image


def test_tissue_follows_a_power_law_of_the_exponent_asked_for():
    # Burgess (1999): 3. A periodogram averaged over rings; four fields, so the fit is good to 0.1
    for exponent in (2.0, 3.0):
        fields = (power_law_field((256, 256), exponent, np.random.default_rng(i)) for i in range(4))
        assert measure_exponent(fields, rings=(3, 100)) == pytest.approx(exponent, abs=0.1)


def test_the_drawn_tissue_has_an_exponent_near_three():
    # Inside dense breasts, as Burgess measured: Hann-windowed squares, 38 mm wide
    params = parse(DEFAULT)
    images = [i for i in plan_images(params) if (i.density, i.view) == ("D", "CC")][:4]
    window = np.outer(np.hanning(128), np.hanning(128))
    squares = []
    for image in images:
        signal = draw_picture(image, params).signal
        signal = signal if image.laterality == "L" else signal[:, ::-1]
        squares += [signal[y : y + 128, 40:168] for y in (300, 350, 400)]
    windowed = ((square - square.mean()) * window for square in squares)
    assert measure_exponent(windowed, rings=(3, 60)) == pytest.approx(3.0, abs=0.5)


def measure_exponent(fields, rings: tuple[int, int]) -> float:
    power = sum(np.abs(np.fft.fft2(field)) ** 2 for field in fields)
    size = power.shape[0]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))) * size
    radii = np.arange(*rings)
    mean = [power[np.rint(frequency) == radius].mean() for radius in radii]
    return -np.polyfit(np.log(radii), np.log(mean), 1)[0]


def test_the_chest_wall_is_on_the_side_of_the_laterality(pictures):
    for image, picture in pictures.items():
        left, right = picture.breast[:, 0].any(), picture.breast[:, -1].any()
        assert (left, right) == ((True, False) if image.laterality == "L" else (False, True))


def test_oblique_views_alone_show_the_pectoral_muscle_and_it_lies_above_at_the_chest_wall(pictures):
    for image, picture in pictures.items():
        if image.view == "CC":
            assert not picture.pectoral.any()
            continue
        share = picture.pectoral.sum() / picture.breast.sum()
        assert 0.03 < share < 0.5, image
        rows, columns = np.nonzero(picture.pectoral)
        from_wall = columns if image.laterality == "L" else 127 - columns
        assert from_wall.mean() < 40  # of 128
        assert rows.mean() < 80  # of 160
        muscle = picture.signal[picture.pectoral].mean()
        fat = picture.signal[picture.breast & ~picture.pectoral & ~picture.dense].mean()
        assert muscle > 1.2 * fat


def test_dense_tissue_is_brighter_than_fat_and_the_air_is_empty(pictures):
    for picture in pictures.values():
        fat = picture.breast & ~picture.pectoral & ~picture.dense
        assert picture.signal[picture.dense].mean() > 1.2 * picture.signal[fat].mean()
        assert not picture.signal[~picture.breast].any()
        assert picture.signal[picture.breast].min() > 0


def test_the_skin_is_a_bright_line_and_the_breast_thins_towards_it():
    params = parse(DEFAULT)
    image = next(i for i in plan_images(params) if (i.density, i.view) == ("A", "CC"))
    picture = draw_picture(image, params)
    depth_mm = cv2.distanceTransform(picture.breast.astype(np.uint8), 2, 5) * 0.3
    bands = ((0, 1), (2.5, 3.5), (20, 40))  # skin, fat under it, full thickness
    skin, under, full = (
        picture.signal[(depth_mm > low) & (depth_mm <= high) & ~picture.dense].mean()
        for low, high in bands
    )
    assert skin > 1.1 * under
    assert full > 1.3 * under


def test_a_picture_shows_the_same_breast_at_any_size():
    image = plan_images(PARAMS)[0]
    small = draw_picture(image, PARAMS).breast
    large = draw_picture(image, parse(TINY | {"rows": 320, "columns": 256})).breast[::2, ::2]
    assert (small != large).mean() < 0.01


# ---- the exposure


def test_the_mean_brightness_does_not_give_the_class_away():
    params = parse(TINY | {"images": 80, "rows": 96, "columns": 80})
    share, mean = [], []
    for image in plan_images(params):
        picture, unit = draw_picture(image, params), choose_unit(image.patient)
        exposure = expose(picture, image, unit, params)
        share.append("ABCD".index(image.density))
        mean.append(shown(exposure, unit)[picture.breast].mean())
    assert abs(np.corrcoef(share, mean)[0, 1]) < 0.4


def test_without_exposure_spread_the_brightness_follows_the_dense_share():
    params = parse(TINY | {"exposure_spread": 0.0, "rows": 96, "columns": 80})
    images = [image for image in plan_images(params) if image.view == "CC"]
    pairs = []
    for image in images:
        picture, unit = draw_picture(image, params), choose_unit(image.patient)
        pixels = expose(picture, image, unit, params).pixels / (2.0**unit.bits_stored - 1)
        if unit.photometric_interpretation == "MONOCHROME1":
            pixels = 1 - pixels
        pairs.append(("ABCD".index(image.density), pixels[picture.breast].mean()))
    assert np.corrcoef(np.transpose(pairs))[0, 1] > 0.7


def shown(exposure: Exposure, unit: Unit) -> np.ndarray:
    """Apply the first window as LINEAR (PS3.3 C.11.2.1.2.1) and turn MONOCHROME1 round."""
    value = (exposure.pixels - (exposure.window_center - 0.5)) / (exposure.window_width - 1) + 0.5
    value = np.clip(value, 0, 1)
    return 1 - value if unit.photometric_interpretation == "MONOCHROME1" else value


def test_the_exposure_follows_the_seed(pictures):
    image = plan_images(PARAMS)[0]
    unit = choose_unit(image.patient)
    other = expose(pictures[image], image, unit, parse(TINY | {"seed": 2}))
    assert other.window_width != expose(pictures[image], image, unit, PARAMS).window_width


def test_monochrome1_shows_the_same_picture():
    image = plan_images(PARAMS)[0]
    picture = draw_picture(image, PARAMS)
    units = [
        Unit(RLELossless, 14, interpretation, None, 1, "Maker")
        for interpretation in ("MONOCHROME1", "MONOCHROME2")
    ]
    one, two = (shown(expose(picture, image, unit, PARAMS), unit) for unit in units)
    np.testing.assert_allclose(one, two, atol=1e-9)


# ---- the files


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_workers(folder, tmp_path):
    write_phantom(tmp_path / "again", PARAMS, workers=2)
    assert digests(tmp_path / "again") == digests(folder)


def test_another_seed_gives_other_pictures_and_uids(datasets, tmp_path):
    write_phantom(tmp_path, params := parse(TINY | {"seed": 2}))
    old = {dataset.SOPInstanceUID for dataset in datasets.values()}
    new = {dcmread(tmp_path / image.path).SOPInstanceUID for image in plan_images(params)}
    assert len(old | new) == 2 * 48


def test_the_table_names_every_file_and_no_other(folder, datasets):
    table = read_table(folder / "labels.csv")
    assert list(table) == ["image_path", "patient_id", "laterality", "view", "density"]
    assert sorted(table["image_path"]) == list(table["image_path"])
    assert set(table["image_path"]) | {"labels.csv"} == set(digests(folder))
    for image, row in zip(datasets, table.itertuples(index=False), strict=True):
        dataset = dcmread(folder / row.image_path)
        assert (row.patient_id, row.laterality, row.view) == (
            dataset.PatientID,
            dataset.ImageLaterality,
            dataset.ViewPosition,
        )
        assert row.density == image.density


def test_stored_pixels_decode_to_what_was_exposed(datasets, pictures):
    for image, dataset in datasets.items():
        expected = expose(pictures[image], image, choose_unit(image.patient), PARAMS).pixels
        np.testing.assert_array_equal(dataset.pixel_array, expected, err_msg=image.path)


def test_all_ways_to_store_an_image_occur(datasets):
    combinations = {
        (d.file_meta.TransferSyntaxUID, d.BitsStored, d.PhotometricInterpretation)
        for d in datasets.values()
    }
    assert combinations == {
        (syntax, bits, interpretation)
        for syntax in (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)
        for bits in (12, 14)
        for interpretation in ("MONOCHROME1", "MONOCHROME2")
    }
    assert {d.get("VOILUTFunction") for d in datasets.values()} == {None, "LINEAR", "SIGMOID"}
    assert {d["WindowCenter"].VM for d in datasets.values()} == {1, 3}


def test_values_fit_bits_stored_and_air_is_at_the_dark_end(datasets, pictures):
    for image, dataset in datasets.items():
        pixels, top = dataset.pixel_array, 2**dataset.BitsStored - 1
        assert pixels.max() <= top
        dark = top if dataset.PhotometricInterpretation == "MONOCHROME1" else 0
        air = np.abs(pixels[~pictures[image].breast].astype(int) - dark)
        assert air.mean() < 0.01 * top


def test_jpeg2000_streams_declare_bits_stored_and_no_wrapper(datasets):
    for dataset in datasets.values():
        if dataset.file_meta.TransferSyntaxUID != JPEG2000Lossless:
            continue
        stream = dataset.PixelData
        start = stream.index(b"\xff\x4f\xff\x51")  # SOC, SIZ: a raw codestream
        assert b"jP  " not in stream[:start]
        precision = stream[start + 2 + 40]  # Ssiz (ISO/IEC 15444-1 A.5.1): bits - 1, unsigned
        assert precision == dataset.BitsStored - 1


def test_headers_hold_what_a_mammogram_for_presentation_must(datasets):
    for image, dataset in datasets.items():
        storage = dataset.file_meta.MediaStorageSOPClassUID
        assert storage == DigitalMammographyXRayImageStorageForPresentation
        assert dataset.Modality == "MG"
        assert dataset.PresentationIntentType == "FOR PRESENTATION"
        assert dataset.BurnedInAnnotation == "NO"
        assert (dataset.RescaleIntercept, dataset.RescaleSlope) == (0, 1)
        assert dataset.PixelSpacing == dataset.ImagerPixelSpacing == [1.5, 1.5]  # 240 mm / 160
        view = dataset.ViewCodeSequence[0]
        assert view.CodeValue == {"CC": "399162004", "MLO": "399368009"}[image.view]  # CID 4014
        inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
        assert dataset.PresentationLUTShape == ("INVERSE" if inverse else "IDENTITY")


def test_images_of_a_patient_share_a_study_and_no_two_a_uid(datasets):
    studies = {(image.patient, d.StudyInstanceUID) for image, d in datasets.items()}
    assert len(studies) == len({image.patient for image in datasets})
    assert len({d.SOPInstanceUID for d in datasets.values()}) == len(datasets)


def test_no_header_tells_the_density_or_a_name(pictures):
    image = plan_images(PARAMS)[0]
    unit = choose_unit(image.patient)
    exposure = expose(pictures[image], image, unit, PARAMS)
    headers = [
        mammogram_dataset(replace(image, density=density), exposure, unit, PARAMS)
        for density in "ABCD"
    ]
    assert headers[0] == headers[1] == headers[2] == headers[3]
    assert headers[0].PatientName == headers[0].PatientBirthDate == ""


@pytest.mark.slow
def test_a_failure_leaves_what_was_there(folder, tmp_path, monkeypatch):
    write_phantom(tmp_path / "data", PARAMS)
    before = digests(tmp_path / "data")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(phantom, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(tmp_path / "data", parse(TINY | {"seed": 5}))
    assert digests(tmp_path / "data") == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
