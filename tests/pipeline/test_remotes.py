"""Remotes as a hospital has them: a shared folder, SSH, S3. Push, pull in a second clone, repro."""

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support.pipeline_copy import PipelineCopy

pytestmark = [pytest.mark.slow, pytest.mark.rebuild]

PUBLISHED = {"data/images.csv", "data/labels.csv", "data/splits.csv", "data/tensors"}
PRIVATE = (
    "data/files.csv", "data/quarantine.csv", "data/quarantine_pixels.csv", "data/sheet",
    "data/review",
)  # fmt: skip


@pytest.fixture(scope="module")
def origin(finished, tmp_path_factory):
    return finished.duplicate(tmp_path_factory.mktemp("origin") / "copy")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def folder_remote(tmp_path):
    return f"{tmp_path}/shared-folder", {}


@pytest.fixture
def ssh_remote(tmp_path):
    """A server of OpenSSH on the loopback, with keys made for it alone."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        pytest.skip("sshd is not installed (Debian: apt-get install openssh-server)")
    if importlib.util.find_spec("dvc_ssh") is None:
        pytest.skip("dvc-ssh is not installed: pip install -r requirements-ssh.txt")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(make, check=True)
    (keys / "authorized").write_bytes((keys / "user.pub").read_bytes())
    port = free_port()
    (keys / "config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {keys}/host\nPidFile {keys}/pid\n"
        f"AuthorizedKeysFile {keys}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd drops privileges
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", str(keys / "config")],
        stderr=(keys / "log").open("w"),
    )
    try:
        wait_for(port, process)
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/far-away"
        yield url, {"keyfile": str(keys / "user")}
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def s3_remote(monkeypatch):
    """A stand-in for S3 on the loopback."""
    for package, lock in (("moto", "requirements-dev.txt"), ("dvc_s3", "requirements-s3.txt")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -r {lock}")
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="mammo")
        yield "s3://mammo/store", {"endpointurl": endpoint}
    finally:
        server.stop()


def wait_for(port, process):
    for _ in range(100):
        assert process.poll() is None, "sshd ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("sshd doesn't answer")


@pytest.mark.parametrize("kind", ["folder_remote", "ssh_remote", "s3_remote"])
def test_a_second_clone_pulls_what_was_pushed_and_makes_the_rest(origin, kind, request, tmp_path):
    url, settings = request.getfixturevalue(kind)
    source = origin.duplicate(tmp_path / "source")
    use_remote(source, url, settings)
    source.run("dvc", "push")

    clone = PipelineCopy.clone(source, tmp_path / "clone")
    use_remote(clone, url, settings)
    clone.run("dvc", "pull", "--allow-missing")
    assert all((clone.folder / path).exists() for path in PUBLISHED)
    assert (clone.folder / "data/phantom/labels.csv").is_file()
    assert not [path for path in PRIVATE if (clone.folder / path).exists()]
    assert not list((clone.folder / "data/embeddings").rglob("*.npy"))
    # what was never sent is made anew, here from the phantom's files, and nothing else runs
    ran = clone.repro()
    assert {"ingest", "preprocess", "embed@head_only"} <= set(ran)
    assert not [stage for stage in ran if stage.startswith(("train", "evaluate"))]
    assert clone.run("git", "status", "--porcelain").stdout == ""


def use_remote(copy, url, settings):
    copy.run("dvc", "remote", "add", "--local", "-d", "storage", url)
    for key, value in settings.items():
        copy.run("dvc", "remote", "modify", "--local", "storage", key, value)


def test_what_is_pushed_holds_no_identifier(origin, tmp_path):
    """Every file that a remote gets, read byte by byte: no path, no accession, no patient."""
    copy = origin.duplicate(tmp_path / "source")
    use_remote(copy, f"{tmp_path}/remote", {})
    # the phantom's own files are data like any other; a hospital's lie outside
    copy.run("dvc", "push", *PUBLISHED, "models/head_only", "data/groups.csv")
    rows = [line.split(",") for line in (copy.folder / "data/files.csv").read_text().splitlines()]
    header, rows = rows[0], rows[1:]
    columns = [
        n for n, name in enumerate(header) if name in ("path", "patient_id", "sop_instance_uid")
    ]
    secrets = {row[n].encode() for row in rows for n in columns if len(row[n]) > 3}
    assert len(secrets) >= len(rows)
    files = [p for p in (tmp_path / "remote").rglob("*") if p.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path.name
