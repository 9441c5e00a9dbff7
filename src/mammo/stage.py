"""How a stage runs: messages to stderr, a clear end on bad input, time and memory to a log."""

import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mammo import paths
from mammo.errors import UserError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`: a `UserError` becomes one line on stderr and exit code 1.

    Seconds and memory go to logs/stages.csv, outside Git and DVC, so that no committed byte
    depends on the machine's speed.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    started = time.monotonic()
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        _log_usage(time.monotonic() - started)


def _log_usage(seconds: float) -> None:
    """Append this stage's wall time and the peak memory of its largest process."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, else in KiB
    peak = max(
        resource.getrusage(who).ru_maxrss / unit
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    name = " ".join([Path(sys.argv[0]).stem, *sys.argv[1:]])
    paths.LOGS.mkdir(parents=True, exist_ok=True)
    with (paths.LOGS / "stages.csv").open("a", encoding="utf-8") as log:
        if log.tell() == 0:
            log.write("stage,seconds,peak_mb\n")
        log.write(f"{name},{seconds:.1f},{peak:.0f}\n")
