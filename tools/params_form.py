"""Put params.yaml into the form that DVC writes: `make params`, after an edit by hand.

`dvc exp run -S` reads and writes the whole file: empty for null, a list one entry a line. In that
form already, it changes the one line that it is asked to change.
"""

from pathlib import Path

from dvc.utils.hydra import apply_overrides

from mammo import paths
from mammo.errors import UserError
from mammo.params import read_params
from mammo.stage import run_stage


def write_as_dvc(path: Path) -> None:
    """Set the chosen strategy to what it is, as `-S` would.

    Raises:
        UserError: The file can't be read, or names no strategy.
    """
    chosen = read_params(path).get("strategy")
    if not isinstance(chosen, str):
        raise UserError(f"{path}: strategy: must name one of strategies, got {chosen!r}")
    apply_overrides(path, [f"strategy={chosen}"])


if __name__ == "__main__":
    run_stage(lambda: write_as_dvc(paths.PARAMS))
