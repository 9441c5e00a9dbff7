"""The studies' dvc.yaml files: each stage depends on the code that it reaches."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from support.imports import code_deps
from support.pipeline_copy import ROOT

EXEMPT = {"errors", "paths", "params", "stage"}  # change no output byte
STAGES = [
    pytest.param(study, name, stage, id=f"{study.name}-{name}")
    for study in sorted(path.parent for path in ROOT.glob("studies/*/dvc.yaml"))
    for name, stage in yaml.safe_load((study / "dvc.yaml").read_text())["stages"].items()
    if name != "check"  # writes a constant, whatever code it reaches
]


@cache
def imports(path):
    return list(_imports(path))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def reached(module):
    """Follow imports from a module of the studies: modules of `studies` and of `mammo`."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        path = ROOT / ("src" if name.startswith("mammo") else "") / (name.replace(".", "/") + ".py")
        if name in found or not path.is_file():
            continue
        found.add(name)
        waiting += [n for n in imports(path) if n.split(".")[0] in ("studies", "mammo")]
    return found


def code_of(module):
    """Name what a stage of that module must depend on: packages of `mammo`, files of `studies`."""
    deps = set()
    for name in reached(module):
        parts = name.split(".")
        if parts[0] == "mammo":
            deps |= {f"src/mammo/{parts[1]}"} if len(parts) > 2 or parts[1] not in EXEMPT else set()
        else:
            deps.add(Path(*parts).with_suffix(".py").as_posix())
    return deps


@pytest.mark.parametrize(("study", "name", "stage"), STAGES)
def test_a_stage_depends_on_the_code_that_it_reaches(study, name, stage):
    body = stage.get("do", stage)
    declared = {
        (study / dep).resolve().relative_to(ROOT).as_posix()
        for dep in body["deps"]
        if "${" not in dep
    }
    module = re.search(r"python -m (\S+)", body["cmd"]).group(1)
    needed = code_of(module)
    for script in [dep for dep in declared if dep.startswith("stages/")]:
        needed |= code_deps(script, ROOT)
    covered = {dep for dep in needed if any(dep == d or dep.startswith(d + "/") for d in declared)}
    params_alone = {dep for dep in needed - covered if reaches_params_alone(dep, module)}
    assert needed - covered - params_alone == set()


def reaches_params_alone(package, module):
    """Say whether of a package nothing but `params` is reached: what it checks, DVC hashes."""
    prefix = package.removeprefix("src/").replace("/", ".") + "."
    return {n for n in reached(module) if n.startswith(prefix)} <= {prefix + "params"}


def test_the_files_are_short_enough_to_read():
    lines = [path.read_text().count("\n") for path in ROOT.glob("studies/*/dvc.yaml")]
    assert sum(lines) < 450


def test_every_command_runs_from_the_root_with_the_checkouts_own_code():
    for param in STAGES:
        body = param.values[2].get("do", param.values[2])
        assert body["cmd"].startswith("cd ../.. && PYTHONPATH=src python -m studies.")
