"""Run a command while a folder can only be read: by its permissions, or by a mount for root."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

# Root writes whatever the permissions say, so it gets a mount in a namespace of its own.
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def run_beside_read_only(
    folder: Path, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; the test is skipped where nothing can be made read-only."""
    if os.geteuid() != 0:
        before = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            return _run(command, cwd, environment)
        finally:
            folder.chmod(before)
    if not _can_mount(folder):
        pytest.skip("root writes everywhere, and `unshare -rm` can't mount anything read-only here")
    return _run(_mounted(folder, command), cwd, environment)


def _can_mount(folder: Path) -> bool:
    return bool(shutil.which("unshare")) and not _run(_mounted(folder, ["true"])).returncode


def _mounted(folder: Path, command: Sequence[str]) -> list[str]:
    return ["unshare", "-rm", "sh", "-c", MOUNT, str(folder), *command]


def _run(
    command: Sequence[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=environment, text=True, capture_output=True, check=False
    )
