"""Groups are coarse: a known maker or another, and ten years of age."""

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mammo.dicom.header import header_of
from mammo.dicom.parsing import Parsed
from mammo.ingest.groups import age_band_of, maker_of


def header(**tags: str):
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return header_of(Parsed(dataset, FileMetaDataset(), ExplicitVRLittleEndian, None))


@pytest.mark.parametrize(
    ("manufacturer", "maker"),
    [
        ("HOLOGIC, Inc.", "Hologic"),
        ("LORAD, A Hologic Company", "Hologic"),
        ("GE MEDICAL SYSTEMS", "GE"),
        ("FUJIFILM Corporation", "Fujifilm"),
        ("Sectra Imtec AB", "Philips"),
        ("IMS s.r.l.", "Giotto"),
        ("Phantom Beta", "Phantom Beta"),
        ("Dr. Meier, Praxis am Markt", "other"),
        ("", "unknown"),
    ],
)
def test_a_maker_is_a_known_one_or_other(manufacturer, maker):
    assert maker_of(manufacturer) == maker


@pytest.mark.parametrize(
    ("tags", "band"),
    [
        ({"PatientAge": "050Y"}, "50-59"),
        ({"PatientAge": "059Y"}, "50-59"),
        ({"PatientAge": "600M"}, "50-59"),
        ({"PatientAge": "029Y"}, "under 30"),
        ({"PatientAge": "093Y"}, "90 and over"),
        ({"PatientAge": "999Y"}, "unknown"),
        ({"PatientAge": "04²Y"}, "unknown"),
        ({"PatientAge": "9" * 5000 + "Y"}, "unknown"),  # Python makes no number of so many digits
        ({"PatientBirthDate": "19700302", "StudyDate": "20200301"}, "40-49"),
        ({"PatientBirthDate": "19700228", "StudyDate": "20200301"}, "50-59"),
        ({"PatientAge": "", "PatientBirthDate": "19700228"}, "unknown"),
        ({"PatientBirthDate": "removed", "StudyDate": "20200301"}, "unknown"),
        ({}, "unknown"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Invalid value for VR")
def test_an_age_is_told_in_ten_years(tags, band):
    assert age_band_of(header(**tags)) == band


def test_a_picture_without_a_header_has_no_age():
    assert age_band_of(None) == "unknown"
