"""dvc.yaml and dvc.lock against the code: what a stage imports, reads as params, and locked."""

import re
from pathlib import Path

import pytest
import yaml

from imports import imported, reachable
from mammo.check import RESERVED
from mammo.params import read_params

ROOT = Path(__file__).resolve().parent.parent
ROOT_STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
STUDIES = sorted(path.parent.name for path in ROOT.glob("studies/*/dvc.yaml"))
# by name: the pipeline's stages, and those of each study as study:stage
STAGES = ROOT_STAGES | {
    f"{study}:{name}": stage
    for study in STUDIES
    for name, stage in yaml.safe_load((ROOT / f"studies/{study}/dvc.yaml").read_text())[
        "stages"
    ].items()
}


def script_of(stage):
    return re.search(r"(stages|studies)/[\w/]+\.py", body_of(stage)["cmd"]).group()


def body_of(stage):
    return STAGES[stage].get("do", STAGES[stage])


def code_deps(stage):
    return [d for d in body_of(stage)["deps"] if d.endswith(".py") or d.startswith("src/")]


def noted_by(stage):
    """Name the stage that notes this one's modules: itself, but for those run many times."""
    study = stage.partition(":")[0]
    notes = [d for d in body_of(stage)["deps"] if d.endswith("_code.txt")]
    return f"{study}:{Path(notes[0]).stem}" if notes else stage


def scripts_of(stage):
    """Name the scripts whose modules a stage has to list: its own, and those that it notes for."""
    noted = [other for other in STAGES if noted_by(other) == stage]
    return {script_of(other) for other in [stage, *noted]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_modules_that_it_imports(stage):
    if noted_by(stage) != stage:
        assert code_deps(stage) == []
        return
    reached = {m for script in scripts_of(stage) for m in reachable(script, ROOT)}
    folders = [d for d in code_deps(stage) if (ROOT / d).is_dir()]
    inside = {m for m in reached if any(m.startswith(f"{folder}/") for folder in folders)}
    expected = sorted((reached - inside) | {f for f in folders if any(f in m for m in inside)})
    listed = "\n".join(f"      - {path}" for path in expected)
    assert sorted(code_deps(stage)) == expected, f"deps of {stage} in dvc.yaml must be:\n{listed}"


def test_imports_are_followed_through_packages_and_functions(tmp_path):
    (tmp_path / "src/mammo/inner").mkdir(parents=True)
    (tmp_path / "src/mammo/__init__.py").write_text("")
    (tmp_path / "src/mammo/inner/__init__.py").write_text("import mammo.deep")
    (tmp_path / "src/mammo/inner/leaf.py").write_text("def f():\n    from mammo import late\n")
    (tmp_path / "src/mammo/deep.py").write_text("import os, numpy")
    (tmp_path / "src/mammo/late.py").write_text("from mammo import params")
    (tmp_path / "src/mammo/params.py").write_text("")
    (tmp_path / "stage.py").write_text("from mammo.inner.leaf import f")
    expected = {"stage.py", *(f"src/mammo/{m}.py" for m in ("deep", "late"))}
    expected |= {f"src/mammo/inner/{m}.py" for m in ("__init__", "leaf")}
    assert reachable("stage.py", tmp_path) == expected


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_params_that_its_script_loads(stage):
    """Sections that a script names as text are declared, and no declared one is unused."""
    params = body_of(stage).get("params", [])
    declared = {p.split(".")[0] for p in params if isinstance(p, str)}
    if stage == "check":
        assert body_of(stage)["params"] == [{"params.yaml": None}]
        return
    script, study = script_of(stage), stage.partition(":")[0]
    if script == "studies/code.py":
        assert not params
        return
    sources = [script]
    studied = ("ladder_bench", "ladder_pictures", "ladder_records")
    loaders = ("experiment", *(f"studies/{name}" for name in studied))
    sources += {f"src/mammo/{name}.py" for name in loaders} & set(code_deps(noted_by(stage)))
    text = "".join((ROOT / s).read_text() for s in sources)
    loaded = set(re.findall(r'load_(?:params|leaf)\(\s*f?"(\w+)', text))
    loaded |= set(re.findall(r'(?:read_params\(\)|settings|values)\["(\w+)"\]', text))
    if script == "studies/check.py":  # which sections, depends on the study
        assert "strategies" in declared
        return
    own = ROOT / "studies" / study / "params.yaml"
    if not own.exists():
        assert declared == loaded
        return
    # A study's own file is a dependency as a whole, or by section.
    file, sections = str(own.relative_to(ROOT)), set(read_params(own))
    by_section = {k.split(".")[0] for p in params if isinstance(p, dict) for k in p[file]}
    assert by_section <= sections
    if not by_section:
        assert file in body_of(stage)["deps"] or not loaded & sections
    # What a loader reads besides is in the pictures, which are a dependency of their own.
    elsewhere = {"phantom", "preprocess", "held_out", "rows", "seeds"}
    assert (loaded & sections) - elsewhere <= (by_section or sections)
    assert declared == loaded - sections


def test_every_cmd_runs_the_code_of_its_own_copy():
    for stage in STAGES:
        assert re.fullmatch(
            r"PYTHONPATH=src python (stages|studies)/[\w/]+\.py( \w+| \$\{[\w.]+\})*",
            body_of(stage)["cmd"],
        )


def test_every_stage_with_bytes_that_depend_on_libraries_says_so():
    free = {"check", "report", *(f"{s}:check" for s in STUDIES), "architectures:seconds"}
    for stage in set(STAGES) - free:
        assert "requirements.txt" in body_of(noted_by(stage))["deps"], stage


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


def test_strategy_names_can_not_meet_the_names_of_stages():
    assert set(ROOT_STAGES) <= set(RESERVED)


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
