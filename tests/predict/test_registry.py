"""The bundle as an artifact: tagged, listed and fetched as docs/predict.md says."""

import subprocess
import sys

import pytest
import yaml

from support.pipeline_copy import ROOT


@pytest.mark.slow
def test_a_tag_makes_a_version_that_can_be_fetched(tmp_path):
    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    artifacts = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]
    assert artifacts["breast-density"]["path"] == "bundle"
    assert artifacts["breast-density"]["type"] == "model"
    command = "mkdir bundle && echo made > bundle/model.json"
    stages = {"bundle": {"cmd": command, "outs": ["bundle"]}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages, "artifacts": artifacts}))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    dvc = [sys.executable, "-m", "dvc"]
    run("git", "init", "-q")
    run(*dvc, "init", "-q")
    run(*dvc, "config", "core.analytics", "false")
    run(*dvc, "repro", "-q")
    run("git", "add", "-A")
    run(*git, "commit", "-q", "-m", "made")
    run(*git, "tag", "-a", "breast-density@v1.0.0", "-m", "first version")
    assert run("git", "tag", "--list", "breast-density@*").split() == ["breast-density@v1.0.0"]
    run(*dvc, "artifacts", "get", ".", "breast-density", "--rev", "v1.0.0", "-o", "bundle-v1")
    assert (tmp_path / "bundle-v1/model.json").read_text() == "made\n"
