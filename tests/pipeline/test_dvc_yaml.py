"""dvc.yaml and dvc.lock against the code: what a stage imports, reads as params, and locked."""

import re
from pathlib import Path

import pytest
import yaml

from mammo.check.parameters import RESERVED
from mammo.comparison.baselines import BASELINES
from mammo.errors import UserError
from mammo.params import read_params
from mammo.storage.digests import code_sha256
from stages.bundle import CODE
from stages.review import refuse_other_code
from support.imports import code_deps, imported, params_loaded, reachable

ROOT = Path(__file__).resolve().parents[2]
ROOT_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def body_of(stage):
    return ROOT_STAGES[stage].get("do", ROOT_STAGES[stage])


def script_of(stage):
    return re.search(r"stages/\w+\.py", body_of(stage)["cmd"]).group()


def code_listed(stage):
    return {d for d in body_of(stage)["deps"] if d.endswith(".py") or d.startswith("src/")}


# What the bundle notes, as dvc.yaml would list it.
NOTED = {f"src/{package.replace('.', '/')}" for package in CODE}


def test_the_bundle_notes_all_code_that_it_is_made_by():
    assert code_deps(script_of("bundle"), ROOT) - {"stages/bundle.py"} == NOTED


def test_the_review_refuses_a_bundle_of_other_code():
    noted = {package: code_sha256(package) for package in CODE}
    refuse_other_code(noted)
    with pytest.raises(UserError, match=r"another mammo\.heads than"):
        refuse_other_code({**noted, "mammo.heads": "0" * 64})


@pytest.mark.parametrize("stage", sorted(set(ROOT_STAGES) - {"check"}))
def test_a_stage_depends_on_exactly_the_packages_that_it_imports(stage):
    expected = code_deps(script_of(stage), ROOT)
    if stage == "review":  # what its bundle was made by is noted in the bundle
        expected -= NOTED
    listed = "\n".join(f"      - {path}" for path in sorted(expected))
    assert code_listed(stage) == expected, f"deps of {stage} in dvc.yaml must be:\n{listed}"


def test_imports_are_followed_through_packages_and_functions(tmp_path):
    (tmp_path / "src/mammo/inner").mkdir(parents=True)
    (tmp_path / "src/mammo/__init__.py").write_text("")
    (tmp_path / "src/mammo/inner/__init__.py").write_text("import mammo.deep")
    (tmp_path / "src/mammo/inner/leaf.py").write_text("def f():\n    from mammo import late\n")
    (tmp_path / "src/mammo/deep.py").write_text("import os, numpy")
    (tmp_path / "src/mammo/late.py").write_text("from mammo import params")
    (tmp_path / "src/mammo/params.py").write_text("")
    (tmp_path / "stage.py").write_text("from mammo.inner.leaf import f")
    expected = {"stage.py", *(f"src/mammo/{m}.py" for m in ("deep", "late", "params"))}
    assert reachable("stage.py", tmp_path) == {*expected, "src/mammo/inner/leaf.py"}
    assert code_deps("stage.py", tmp_path) == {
        "stage.py", "src/mammo/deep.py", "src/mammo/late.py", "src/mammo/inner",
    }  # fmt: skip


@pytest.mark.parametrize("stage", sorted(set(ROOT_STAGES) - {"check"}))
def test_a_stage_declares_the_params_that_its_code_loads(stage):
    """By section, wherever the code that it reaches loads them; and each leaf is covered."""
    declared = {re.sub(r"\$\{\w+\}", "*", p) for p in body_of(stage).get("params", [])}
    loaded = set().union(
        *(params_loaded(ROOT / path) for path in reachable(script_of(stage), ROOT))
    )
    assert {key.split(".")[0] for key in declared} == {key.split(".")[0] for key in loaded}
    for key in loaded:
        near = [
            d for d in declared if f"{key}.".startswith(f"{d}.") or f"{d}.".startswith(f"{key}.")
        ]
        assert near, f"{stage}: {key} is loaded, and not among {sorted(declared)}"


def test_check_declares_the_whole_file():
    assert "params.yaml" in body_of("check")["deps"]


def test_loaded_params_are_found_whatever_they_are_called(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text(
        "load_params('train', T)\nload_leaf(f'strategies.{name}.lr', float)\n"
        "everything = read_params()\neverything['dataset']['root']\nread_params()['loss']\n"
        "other = {}\nother['not a section']\nload_params(name, T)\n"
    )
    assert params_loaded(script) == {"train", "strategies.*.lr", "dataset", "loss"}


def test_every_cmd_runs_the_code_of_its_own_copy():
    for stage in ROOT_STAGES:
        assert re.fullmatch(
            r"PYTHONPATH=src python stages/\w+\.py( \w+| \$\{[\w.]+\})*",
            body_of(stage)["cmd"],
        )


def test_every_stage_with_bytes_that_depend_on_libraries_says_so():
    for stage in set(ROOT_STAGES) - {"check"}:
        assert "requirements.txt" in body_of(stage)["deps"], stage


def test_identifying_tables_are_never_pushed():
    outs = {
        k: v
        for s in ROOT_STAGES
        for o in body_of(s)["outs"]
        if isinstance(o, dict)
        for k, v in o.items()
    }
    for path in ("data/files.csv", "data/quarantine.csv", "data/quarantine_pixels.csv"):
        assert outs[path] == {"push": False}


def test_no_strategy_can_take_the_name_of_another_arm_and_no_more_is_reserved():
    assert set(BASELINES) <= set(RESERVED)
    assert set(RESERVED) - set(BASELINES) <= {"ensemble", "grey_features"}


def test_no_default_of_a_parameter_hides_in_python():
    for path in sorted((ROOT / "src/mammo").rglob("*.py")):
        text = path.read_text()
        for model in re.finditer(r"^class \w+Params\(.*?\):\n(.*?)(?=^\S|\Z)", text, re.M | re.S):
            fields = re.findall(
                r"^    \w+: [^\n]*? = (?!Field\((?:ge|gt|le|lt|min|max))[^\n]+", model[1], re.M
            )
            assert not fields, f"{path.name}: {fields}"


def test_every_strategy_carries_the_same_keys():
    keys = [sorted(entry) for entry in read_params()["strategies"].values()]
    assert all(k == keys[0] for k in keys)


def test_only_params_and_paths_are_exempt_and_import_nothing_of_their_own_kind():
    assert imported(ROOT / "src/mammo/paths.py") == set()
