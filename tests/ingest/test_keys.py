"""Keys hide identifiers unless the owner says that there is nothing to hide."""

import hashlib
import hmac
from pathlib import Path

import pytest

from mammo import paths
from mammo.errors import UserError
from mammo.ingest.keys import image_key, patient_key, read_dataset_key

SECRET = b"0123456789abcdef0123456789abcdef"


def test_keys_are_the_first_16_digits_of_the_hmac():
    message = hmac.new(SECRET, b"patient:P1", hashlib.sha256).hexdigest()
    assert patient_key(SECRET, "P1") == message[:16]


def test_image_and_patient_of_one_name_have_different_keys():
    assert image_key(SECRET, "x") != patient_key(SECRET, "x")


def test_another_secret_gives_other_keys():
    assert patient_key(SECRET, "P1") != patient_key(SECRET[::-1], "P1")


def test_the_phantom_needs_no_key_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_dataset_key(None, paths.PHANTOM) == read_dataset_key("public", tmp_path)


def test_other_data_without_a_key_file_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"dataset.key_file: needed for .*make one with"):
        read_dataset_key(None, tmp_path)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_dataset_key(str(tmp_path / "dataset.key"), tmp_path)


def test_a_short_key_is_refused(tmp_path):
    path = tmp_path / "dataset.key"
    path.write_bytes(b"too short\n")
    with pytest.raises(UserError, match=r"dataset\.key: a key needs at least 32 bytes, got 9"):
        read_dataset_key(str(path), tmp_path)


def test_the_line_end_after_a_key_does_not_matter(tmp_path: Path):
    path = tmp_path / "dataset.key"
    path.write_bytes(SECRET + b"\r\n")
    assert read_dataset_key(str(path), tmp_path) == SECRET
