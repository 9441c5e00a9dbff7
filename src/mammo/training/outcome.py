"""What a training leaves behind, and which epoch of it is kept."""

from dataclasses import dataclass, field

from torch import nn

from mammo.evaluation.suffix_file import State
from mammo.training.history import Row


@dataclass
class Best:
    """The epoch that is kept: the best so far (`best_order`), or at the end the last one."""

    rank: tuple[float, ...] = ()
    epoch: int = 0
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a training leaves behind: its history, the best and the last state, the alerts.

    Attributes:
        head_retrained: Whether both states are of a head that was trained once more alone.
    """

    rows: list[Row]
    best: Best
    last: State
    alerts: list[str]
    head_retrained: bool = False


def best_order(row: Row) -> tuple[float, ...]:
    """Order epochs: first bal_acc_adj, then kappa, then AUC (an undefined one comes last).

    Where val holds one class all of these are constant, and the loss decides.
    """
    if row["classes_present"] < 2:
        return (-row["loss"],)
    auc = row["auc_macro"]
    return (row["bal_acc_adj"], row["kappa"], -1.0 if auc is None else auc)


def copy_state(suffix: nn.Module) -> State:
    """Copy a module's state to the CPU."""
    return {key: value.detach().cpu().clone() for key, value in suffix.state_dict().items()}
