"""dvc.yaml and dvc.lock against the code: what a stage imports, reads as params, and locked."""

import re
from pathlib import Path

import pytest
import yaml

from mammo.check import RESERVED
from mammo.comparison.baselines import BASELINES
from mammo.params import read_params
from support.imports import code_deps, imported, reachable

ROOT = Path(__file__).resolve().parents[2]
ROOT_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def body_of(stage):
    return ROOT_STAGES[stage].get("do", ROOT_STAGES[stage])


def script_of(stage):
    return re.search(r"stages/\w+\.py", body_of(stage)["cmd"]).group()


def code_listed(stage):
    return {d for d in body_of(stage)["deps"] if d.endswith(".py") or d.startswith("src/")}


@pytest.mark.parametrize("stage", sorted(set(ROOT_STAGES) - {"check"}))
def test_a_stage_depends_on_exactly_the_packages_that_it_imports(stage):
    expected = code_deps(script_of(stage), ROOT)
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


@pytest.mark.parametrize("stage", ROOT_STAGES)
def test_a_stage_declares_the_params_that_its_script_loads(stage):
    """Sections that a script names as text are declared, and no declared one is unused."""
    params = body_of(stage).get("params", [])
    if stage == "check":
        assert params == [{"params.yaml": None}]
        return
    sources = [script_of(stage)]
    if "src/mammo/training" in code_listed(stage):
        sources.append("src/mammo/training/settings.py")
    text = "".join((ROOT / s).read_text() for s in sources)
    loaded = set(re.findall(r'load_(?:params|leaf)\(\s*f?"(\w+)', text))
    loaded |= set(re.findall(r'(?:read_params\(\)|settings|values)\["(\w+)"\]', text))
    assert {p.split(".")[0] for p in params} == loaded


def test_every_cmd_runs_the_code_of_its_own_copy():
    for stage in ROOT_STAGES:
        assert re.fullmatch(
            r"PYTHONPATH=src python stages/\w+\.py( \w+| \$\{[\w.]+\})*",
            body_of(stage)["cmd"],
        )


def test_every_stage_with_bytes_that_depend_on_libraries_says_so():
    for stage in set(ROOT_STAGES) - {"check", "report"}:
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
