"""Structured Reports, read back."""

from pathlib import Path
from typing import Any

from mammo.predict.dicom_objects import BREAST_COMPOSITION, COMPOSITION, PROBABILITY


def read_report(path: Path) -> list[dict[str, Any]]:
    """Read the findings of a report back: name, answer, probability and the images' UIDs."""
    from highdicom import sr

    content: Any = sr.srread(path).content
    found = []
    for group in content.get_image_measurement_groups():
        evaluations = {e.name: e.value for e in group.get_qualitative_evaluations()}
        (probability,) = group.get_measurements(name=PROBABILITY)
        code = evaluations[BREAST_COMPOSITION]
        found.append(
            {
                "name": group.tracking_identifier,
                "answer": next(k for k, v in COMPOSITION.items() if v == code),
                "probability": float(probability.value),
                "sources": [s.referenced_sop_instance_uid for s in group.source_images],
            }
        )
    return found
