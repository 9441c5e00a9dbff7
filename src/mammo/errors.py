"""Errors that a user can act on, and how a stage ends on one."""

import logging
import os
import sys
from collections.abc import Callable

logger = logging.getLogger("mammo")


class UserError(Exception):
    """A fault of the input as a whole; its text names file and key and says what to do."""


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage's `main`: a `UserError` becomes one line on stderr and exit code 1."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.captureWarnings(True)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
