"""The small resolver of dvc.yaml finds what DVC itself finds, and what dvc.lock holds."""

from pathlib import Path

import pytest
import yaml

from mammo.dvc_yaml import running_stage, stages_of
from support.small_pipeline import SmallPipeline

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def pipeline(tmp_path):
    return SmallPipeline(tmp_path)


def as_dvc_sees(folder):
    from dvc.dependency.param import ParamsDependency
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        stages = [s for s in repo.index.stages if s.path_in_repo == "dvc.yaml"]
        return {
            s.name: {
                "cmd": s.cmd,
                "deps": {d.def_path for d in s.deps if not isinstance(d, ParamsDependency)},
                "outs": {out.def_path for out in s.outs},
                "params": {
                    d.def_path: set(d.params) for d in s.deps if isinstance(d, ParamsDependency)
                },
            }
            for s in stages
        }


def as_we_see(folder):
    return {
        s.name: {
            "cmd": s.cmd,
            "deps": set(s.deps),
            "outs": set(s.outs),
            "params": {file: set(keys) for file, keys in s.params.items()},
        }
        for s in stages_of(folder / "dvc.yaml")
    }


def test_the_pipeline_resolves_as_dvc_resolves_it():
    assert as_we_see(ROOT) == as_dvc_sees(ROOT)
    assert len(as_we_see(ROOT)) > 12


def test_foreach_lists_vars_and_files_of_parameters_resolve_as_dvc_resolves_them(pipeline):
    pipeline.run("dvc", "init", "--no-scm", "-q")
    seen = as_we_see(pipeline.folder)
    assert seen == as_dvc_sees(pipeline.folder)
    assert seen["train@b"]["cmd"] == "python stages/train.py b 0.25"
    assert seen["train@b"]["params"]["params.yaml"] == {"train", "strategies.b.lr"}
    assert seen["list@y"]["outs"] == {"list-y.txt"}


@pytest.mark.slow
def test_what_is_resolved_is_what_dvc_locks(pipeline):
    pipeline.run("dvc", "init", "--no-scm", "-q")
    done = pipeline.run("dvc", "repro", "train@a")
    assert done.returncode == 0, done.stderr
    locked = yaml.safe_load((pipeline.folder / "dvc.lock").read_text())["stages"]["train@a"]
    seen = as_we_see(pipeline.folder)["train@a"]
    assert locked["cmd"] == seen["cmd"]
    assert {d["path"] for d in locked["deps"]} == seen["deps"]
    assert {o["path"] for o in locked["outs"]} == seen["outs"]
    assert set(locked["params"]) == set(seen["params"])
    assert set(locked["params"]["params.yaml"]) == seen["params"]["params.yaml"]


def test_a_stage_is_found_by_its_script_and_arguments(pipeline, monkeypatch):
    monkeypatch.chdir(pipeline.folder)
    assert running_stage(["stages/train.py", "b", "0.25"], {}).name == "train@b"
    absolute = str(pipeline.folder / "stages/train.py")
    assert running_stage([absolute, "a", "0.5"], {}).name == "train@a"
    assert running_stage(["stages/train.py", "c"], {}) is None
    assert running_stage(["stages/other.py", "a", "0.5"], {}) is None


@pytest.mark.parametrize(
    "how",
    [
        "      wdir: ..\n      cmd: PYTHONPATH=src python -m stages.cell ${item}",
        "      cmd: cd .. && PYTHONPATH=src python stages/cell.py ${item}",
    ],
)
def test_a_stage_of_a_dvc_yaml_elsewhere_is_found_by_the_name_that_dvc_gives(
    pipeline, monkeypatch, how
):
    (pipeline.folder / "inner").mkdir()
    pipeline.write(
        "inner/dvc.yaml",
        f"stages:\n  cell:\n    foreach: [x]\n    do:\n{how}\n      deps: [table.csv]\n",
    )
    monkeypatch.chdir(pipeline.folder)
    argv = [str(pipeline.folder / "stages/cell.py"), "x"]
    assert running_stage(argv, {}) is None
    found = running_stage(argv, {"DVC_STAGE": "inner/dvc.yaml:cell@x"})
    assert (found.name, found.deps) == ("cell@x", ("table.csv",))
    root = {"DVC_STAGE": "dvc.yaml:cell@x", "DVC_ROOT": str(pipeline.folder / "inner")}
    assert running_stage(argv, root).name == "cell@x"


def test_outside_of_a_pipeline_there_is_no_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert running_stage(["stages/train.py", "a"], {}) is None
    (tmp_path / "dvc.yaml").write_text("stages: [")
    assert running_stage(["stages/train.py", "a"], {}) is None
