"""What the page says of how the strategies came about: trained parameters, collapse."""

from collections.abc import Mapping

from mammo.comparison.inputs import Training
from mammo.comparison.wording import NOTHING, count, epoch_ranges, percent, table

# What torchvision calls the first block of a ResNet is, part by part, two layers.
COMPONENTS = {"resnet50": {"stem": "conv1+bn1", "head": "fc"}}


def parameters(trained: Mapping[str, Training], arch: str) -> str:
    """Write the trainable parameters by component, a column a strategy."""
    training = {name: t for name, t in trained.items() if t.by_block}
    if not training:
        return ""
    names = COMPONENTS.get(arch, {})
    blocks = max((list(t.by_block) for t in training.values()), key=len)
    rows = [
        [names.get(block, block), *(_count(t.by_block.get(block, 0)) for t in training.values())]
        for block in blocks
    ]
    rows.append(["all", *(_count(t.parameters) for t in training.values())])
    return (
        f"## Trainable parameters by component ({arch})\n\n"
        "Blocks that no strategy trains are left out; – is frozen.\n\n"
        + table(["", *(f"`{name}`" for name in training)], rows)
    )


def collapse_history(training: Mapping[str, Training]) -> str:
    """Write of each strategy when it was collapsed, and what was kept."""
    lines = [f"- `{name}`: {_collapse_sentence(found)}" for name, found in training.items()]
    return (
        "## Collapse history\n\n"
        "Collapsed: the model answers (almost) one class only, or has lost one, on val. While "
        "only a head has begun to learn (the warm-up), and on a regularisation path, whose first "
        "steps are near the class shares by design, that is no collapse and raises no alarm.\n\n"
        + "\n".join(lines)
    )


def _collapse_sentence(training: Training) -> str:
    found = training.history
    parts = []
    if found.path_steps:
        parts.append(
            f"head solved along {count(found.path_steps, 'step')}; kept step {training.best_epoch}"
        )
    if found.epochs:
        collapsed = (
            f"collapsed in {epoch_ranges(found.collapsed)}"
            if found.collapsed
            else "never collapsed"
        )
        warned = f", with warnings in {epoch_ranges(found.warning)}" if found.warning else ""
        parts.append(f"{collapsed}{warned}, of {count(found.epochs, 'epoch')}")
        parts.append(f"kept epoch {training.best_epoch}")
    alarms = count(len(training.alerts), "alarm") if training.alerts else "no alarm"
    status = "has a warning" if found.kept_status == "warning" else f"is {found.kept_status}"
    return (
        f"{'; '.join(parts)}, which {status}, with {percent(found.kept_share)} of val answered by "
        f"one class; {alarms}."
    )


def _count(n: int) -> str:
    return f"{n:,}" if n else NOTHING
