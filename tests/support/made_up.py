"""Made-up predictions as in plots/evaluation/S/predictions.csv, and how they are compared."""

from typing import Any

import numpy as np
import pandas as pd

from mammo.comparison.params import CompareParams

CLASSES = "ABCD"


def compare_params(**changes: Any) -> CompareParams:
    """The section `compare` with few draws; `changes` replace its keys."""
    values = {
        "draws": 200, "seed": 0, "confidence": 0.9, "calibration_bins": 10,
        "tested_metrics": ["kappa_quadratic", "kappa"], "false_discovery_rate": 0.1,
        "histogram": {"bins": 8},
    }  # fmt: skip
    return CompareParams.model_validate(values | changes)


def predictions(strategy: str, skill: float, n_patients: int = 60, seed: int = 0) -> pd.DataFrame:
    """Four images a patient, every third patient in val; images of one patient err alike."""
    patients = np.random.default_rng(seed)  # the same patients whatever the strategy
    noise = np.random.default_rng([seed, *strategy.encode()])
    rows = []
    for number in range(n_patients):
        label = int(patients.choice(4, p=[0.1, 0.3, 0.4, 0.2]))
        habit = noise.normal(size=4)
        for laterality, view in [("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]:
            logits = skill * np.eye(4)[label] + 0.6 * habit + 0.6 * noise.normal(size=4)
            probabilities = np.exp(logits) / np.exp(logits).sum()
            rows.append(
                (
                    strategy,
                    f"{number:04x}{laterality}{view}",
                    f"p{number:04d}",
                    laterality,
                    view,
                    "val" if number % 3 == 0 else "test",
                    CLASSES[label],
                    CLASSES[probabilities.argmax()],
                    *probabilities,
                )
            )
    columns = ["strategy", "key", "patient", "laterality", "view", "split", "label", "prediction"]
    columns += [f"probability_{label}" for label in CLASSES]
    return pd.DataFrame(rows, columns=columns).sort_values("key", ignore_index=True)
