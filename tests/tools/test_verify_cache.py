"""`make verify` finds the object that a disk has changed, and takes it out of DVC's way."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.pipeline_copy import ROOT


def run(*command, folder, check=True):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_a_changed_object_is_named_and_moved_away(tmp_path):
    run("git", "init", "-q", folder=tmp_path)
    dvc = (sys.executable, "-m", "dvc")
    run(*dvc, "init", "-q", folder=tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("one", "two"):
        (tmp_path / "folder" / name).write_text(name)
    run(*dvc, "add", "-q", "folder", folder=tmp_path)
    verify = (sys.executable, str(ROOT / "tools/verify_cache.py"))
    assert "3 objects, 0 damaged" in run(*verify, folder=tmp_path).stdout

    objects = list((tmp_path / ".dvc/cache/files/md5").glob("??/*"))
    victim = next(path for path in objects if path.read_bytes() == b"two")
    victim.chmod(0o644)
    victim.write_bytes(b"twe")
    done = run(*verify, folder=tmp_path, check=False)
    assert done.returncode != 0
    assert "3 objects, 1 damaged" in done.stdout
    assert "dvc repro" in done.stderr
    assert not victim.exists()
    assert (tmp_path / ".dvc/damaged" / (victim.parent.name + victim.name)).read_bytes() == b"twe"


MEMORY = Path("/dev/shm")


@pytest.mark.skipif(not MEMORY.is_dir(), reason="there is no second file system")
def test_a_damaged_object_of_a_cache_on_another_disk_is_moved_away_too(tmp_path):
    if MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the same file system")
    run("git", "init", "-q", folder=tmp_path)
    dvc = (sys.executable, "-m", "dvc")
    run(*dvc, "init", "-q", folder=tmp_path)
    cache = Path(tempfile.mkdtemp(dir=MEMORY))
    try:
        run(*dvc, "cache", "dir", "-q", str(cache), folder=tmp_path)
        name = hashlib.md5(b"two", usedforsecurity=False).hexdigest()
        victim = cache / "files/md5" / name[:2] / name[2:]
        victim.parent.mkdir(parents=True)
        victim.write_bytes(b"twe")
        verify = (sys.executable, str(ROOT / "tools/verify_cache.py"))
        done = run(*verify, folder=tmp_path, check=False)
        assert "1 objects, 1 damaged" in done.stdout, done.stderr
        assert not victim.exists()
        assert (tmp_path / ".dvc/damaged" / name).read_bytes() == b"twe"
    finally:
        shutil.rmtree(cache)
