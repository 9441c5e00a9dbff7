"""Fixtures that several test modules share."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real sample data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"real sample data are absent: no folder {folder.name} beside the checkout")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium command."""
    command = shutil.which("chromium") or shutil.which("chromium-browser")
    if command is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    return command
