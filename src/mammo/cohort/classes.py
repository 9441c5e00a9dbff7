"""The class sets: the names of the classes, in order of density, and what maps to them."""

from typing import Literal

ClassSet = Literal["a_b_c_d", "ab_cd", "fatty_glandular_dense"]

# What a dataset's label becomes: BI-RADS A-D (ACR BI-RADS Atlas, 5th ed.) or mini-MIAS's F, G, D.
_CLASS_OF: dict[str, dict[str, str]] = {
    "a_b_c_d": {"A": "A", "B": "B", "C": "C", "D": "D"},
    "ab_cd": {"A": "AB", "B": "AB", "C": "CD", "D": "CD"},
    "fatty_glandular_dense": {"F": "F", "G": "G", "D": "D"},
}

CLASSES: dict[str, tuple[str, ...]] = {
    name: tuple(dict.fromkeys(classes.values())) for name, classes in _CLASS_OF.items()
}


def labels_of(class_set: ClassSet) -> tuple[str, ...]:
    """Name the labels that a class set can be made from: A-D, or F, G, D."""
    return tuple(_CLASS_OF[class_set])


def class_of(class_set: ClassSet, label: str) -> str:
    """Map a dataset's label to its class."""
    return _CLASS_OF[class_set][label]


# "Dense" is C and D of BI-RADS (ACR BI-RADS Atlas, 5th ed.); mini-MIAS names its own class D.
DENSE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("A", "B", "C", "D"): ("C", "D"),
    ("AB", "CD"): ("CD",),
    ("F", "G", "D"): ("D",),
}


def dense_positions(classes: tuple[str, ...]) -> list[int]:
    """Find the classes that count as dense."""
    return [classes.index(label) for label in DENSE[classes]]
