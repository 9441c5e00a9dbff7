"""Names in somebody else's weights file: wrappers' prefixes and numbers in place of names.

RadImageNet's ResNet50, for one, is torchvision's network in a `Sequential` called `backbone`: its
`conv1.weight` is `backbone.0.weight`, its `layer1.0.conv1.weight` `backbone.4.0.conv1.weight`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from mammo.errors import UserError

PREFIXES = ("module", "backbone", "encoder", "model", "_orig_mod")  # the last is torch.compile's


def match_names(
    names: Iterable[str], expected: Collection[str], children: Sequence[str], source: str
) -> tuple[dict[str, str], list[str]]:
    """Find which tensor of ours each name in a file means.

    Args:
        names: The file's.
        expected: Ours.
        children: The names of our network's outermost parts, in order.
        source: The file, for a message.

    Returns:
        Their name -> ours, and their names that mean none of ours (a classifier's, say).

    Raises:
        UserError: Two names mean the same tensor.
    """
    meant: dict[str, str] = {}
    dropped = []
    for name in names:
        ours = next((one for one in _readings(name, children) if one in expected), None)
        if ours is None:
            dropped.append(name)
            continue
        if ours in meant:
            raise UserError(
                f"{source}: must hold one network, got {meant[ours]} and {name}, which are both "
                f"{ours} of backbone.arch; save the one that is wanted by itself"
            )
        meant[ours] = name
    return {theirs: ours for ours, theirs in meant.items()}, dropped


def changes(renamed: Mapping[str, str]) -> dict[str, str]:
    """Sum up what became of names: without the parts at their ends that stayed, each pair once.

    `module.layer1.0.conv1.weight` that became `layer1.0.conv1.weight` is `module.*` -> `*`.
    """
    found = {}
    for theirs, ours in renamed.items():
        old, new = theirs.split("."), ours.split(".")
        while old and new and old[-1] == new[-1]:
            old, new = old[:-1], new[:-1]
        found[".".join([*old, "*"])] = ".".join([*new, "*"])
    return found


def _readings(name: str, children: Sequence[str]) -> Iterator[str]:
    """Read a name as it is, then without its outermost prefix, and so on."""
    while True:
        yield name
        head, _, rest = name.partition(".")
        if head.isdecimal() and int(head) < len(children):
            yield f"{children[int(head)]}.{rest}"
        if head not in PREFIXES or not rest:
            return
        name = rest
