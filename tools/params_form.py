"""Put params.yaml into the form that DVC writes: `make params`, after an edit by hand.

`dvc exp run -S` reads and writes the whole file: empty for null, a list one entry a line. In that
form already, it changes the one line that it is asked to change.
"""

from pathlib import Path

import yaml
from dvc.utils.hydra import apply_overrides


def write_as_dvc(path: Path) -> None:
    """Set the chosen strategy to what it is, as `-S` would."""
    chosen = yaml.safe_load(path.read_text(encoding="utf-8"))["strategy"]
    apply_overrides(path, [f"strategy={chosen}"])


if __name__ == "__main__":
    write_as_dvc(Path("params.yaml"))
