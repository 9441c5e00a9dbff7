"""One process at a time: a lock that says who holds it, and that a killed holder leaves free."""

import contextlib
import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mammo.errors import UserError


@contextlib.contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` while the block runs.

    The system frees the lock of a process that ends in whatever way, so a file left behind by
    one that was killed stands in nobody's way.

    Args:
        path: The lock file; it is removed afterwards.
        what: What is locked, for the message.

    Raises:
        UserError: Another process holds it; says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path, what)
    try:
        os.ftruncate(descriptor, 0)
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
        since = time.strftime("%H:%M:%S")
        owner = f"process {os.getpid()} ({command}) on {socket.gethostname()} since {since}"
        os.write(descriptor, owner.encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, what: str) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 500).decode(errors="replace")
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise UserError(
                f"{what}: is being written by {owner or 'another process'}; "
                "wait for it to end, or stop it"
            ) from None
        # The last holder may have removed the file between our opening and locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)
