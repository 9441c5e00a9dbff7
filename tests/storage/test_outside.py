"""What stages read and DVC doesn't hash is the file that stage check saw, or refused."""

import pytest

from mammo.errors import UserError
from mammo.storage.outside import note_outside, require_noted


def test_a_file_replaced_since_the_check_is_refused(tmp_path):
    key, noted = tmp_path / "dataset.key", tmp_path / "outside.json"
    key.write_text("k" * 40)
    note_outside({"dataset.key_file": key, "backbone.file": None}, noted)
    require_noted("dataset.key_file", key, noted)
    key.write_text("q" * 40)
    with pytest.raises(UserError, match=r"dataset\.key: must be the file .* -s check"):
        require_noted("dataset.key_file", key, noted)
    with pytest.raises(UserError, match=r"backbone\.file"):
        require_noted("backbone.file", key, noted)
