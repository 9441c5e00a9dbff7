"""Stages import nothing that takes seconds and isn't needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.mark.parametrize("module", ["mammo.check.parameters", "mammo.check.inputs", "mammo.stage"])
def test_check_imports_nothing_that_takes_seconds(module):
    heavy = "torch torchvision sklearn cv2 pandas scipy albumentations dask joblib"
    code = (
        f"import sys, {module}, mammo.storage.outside; "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


# With torch a stage of a second takes fourteen; torch's compiler, which torchvision and Fabric
# import, makes it two seconds more.
COMPILER = "torchvision lightning_fabric torch._dynamo sympy"


@pytest.mark.parametrize(
    ("script", "heavy"),
    [
        ("check", "torch torchvision sklearn scipy cv2"),
        ("report", "torch torchvision sklearn scipy cv2"),
        ("embed", COMPILER),
        ("train", COMPILER),
        ("evaluate", f"{COMPILER} albumentations"),
        ("bundle", f"{COMPILER} albumentations"),
        ("review", f"{COMPILER} albumentations"),
    ],
)
def test_stages_import_nothing_that_takes_seconds_and_is_not_needed(script, heavy):
    """Their imports alone are run."""
    code = (
        f"import sys, runpy; runpy.run_path('stages/{script}.py', run_name='imported'); "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
