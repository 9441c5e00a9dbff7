"""Set the strategies side by side, in tables and pictures.

Reads plots/{training,evaluation}; writes plots/plot.
"""

import logging
from typing import Any

from mammo import paths
from mammo.figures.run import draw_comparison
from mammo.figures.style import write_png
from mammo.figures.tables import Result, comparison_tables
from mammo.params import Params, load_leaf, parse_params
from mammo.stage import run_stage
from mammo.storage.files import read_json, read_table, whole_folder, write_table

logger = logging.getLogger("mammo.plot")

ENSEMBLE = "ensemble"


class DrawnStrategy(Params, extra="ignore"):
    """What the figures show of one entry of `strategies`; the stage check judges the rest."""

    head: str
    warmup_epochs: int

    @property
    def held_epochs(self) -> int:
        """Epochs in which the head alone trains; a solved head needs none."""
        return 0 if self.head == "solved" else self.warmup_epochs


def main() -> None:
    """Run the stage."""
    strategies = {
        name: parse_params(f"strategies.{name}", values, DrawnStrategy)
        for name, values in load_leaf("strategies", dict[str, Any]).items()
    }
    if load_leaf("ensemble.strategies", list[str]):
        strategies[ENSEMBLE] = DrawnStrategy(head="solved", warmup_epochs=0)
    warn_of_removed({*strategies, ENSEMBLE})
    tables = comparison_tables({name: read_result(name) for name in strategies})
    warmup_epochs = {name: strategy.held_epochs for name, strategy in strategies.items()}
    with whole_folder(paths.PLOT_PLOTS) as folder:
        for name, table in tables.items():
            write_table(table, folder / name)
        for name, figure in draw_comparison(tables, warmup_epochs).items():
            write_png(figure, folder / name)


def read_result(strategy: str) -> Result:
    """Read what training and evaluation wrote for one strategy."""
    return Result(
        history=read_table(paths.TRAINING_PLOTS / strategy / "history.csv"),
        predictions=read_table(paths.EVALUATION_PLOTS / strategy / "predictions.csv"),
        metrics=read_json(paths.EVALUATION_PLOTS / strategy / "metrics.json"),
    )


def warn_of_removed(strategies: set[str]) -> None:
    """Name the folders of strategies that params.yaml no longer has; they are not drawn."""
    for parent in (paths.TRAINING_PLOTS, paths.EVALUATION_PLOTS):
        for folder in sorted(parent.glob("*/")):
            if folder.name not in strategies:
                logger.warning("%s: not among strategies, not drawn; remove the folder", folder)


if __name__ == "__main__":
    run_stage(main)
