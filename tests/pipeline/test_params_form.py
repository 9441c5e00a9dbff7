"""params.yaml stands in the form that `dvc exp run -S` writes, so that it changes what it must."""

import shutil

from dvc.utils.hydra import apply_overrides

from params_form import write_as_dvc
from support.pipeline_copy import ROOT


def test_a_change_that_changes_nothing_keeps_every_byte(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    before = (ROOT / "params.yaml").read_text()
    apply_overrides(tmp_path / "params.yaml", ["split.folds=5"])
    assert (tmp_path / "params.yaml").read_text() == before, "run `make params`, and commit it"


def test_a_change_touches_its_own_line_and_keeps_the_comment(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", ["split.folds=4"])
    before = (ROOT / "params.yaml").read_text().splitlines()
    after = (tmp_path / "params.yaml").read_text().splitlines()
    differing = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert [(a.split("#")[0].strip(), b.split("#")[0].strip()) for a, b in differing] == [
        ("folds: 5", "folds: 4")
    ]


def test_make_params_makes_it_so(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "strategy: a   # one\nfirst:\n  many: [1, 2]  # two\n  empty: null\n\nlast: 3\n"
    )
    write_as_dvc(path)
    text = path.read_text()
    assert text == (
        "strategy: a   # one\nfirst:\n  many:         # two\n  - 1\n  - 2\n  empty:\n\nlast: 3\n"
    )
    write_as_dvc(path)
    assert path.read_text() == text
