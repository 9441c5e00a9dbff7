"""Time the patient bootstrap: every metric of 10,000 images in 2,000 draws.

Run by hand: `PYTHONPATH=src python benchmarks/bootstrap.py [images] [draws]`.
"""

import sys
import time

import numpy as np

from mammo.comparison.bootstrap import interval, metric_draws, resample_patients
from mammo.evaluation.levels import Units

IMAGES_PER_PATIENT = 4


def main(images: int = 10_000, draws: int = 2_000) -> None:
    """Measure one strategy at image level and print the seconds."""
    generator = np.random.default_rng(0)
    patients = np.arange(images) // IMAGES_PER_PATIENT
    labels = generator.integers(4, size=patients[-1] + 1)[patients]
    logits = np.eye(4)[labels] + generator.normal(size=(images, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    units = Units(patients, labels, probabilities, ("A", "B", "C", "D"))
    start = time.perf_counter()
    weights = resample_patients(int(patients[-1]) + 1, draws, seed=0)
    drawn = metric_draws(units, weights, dense=[2, 3])
    seconds = time.perf_counter() - start
    kappa = interval(drawn["kappa"], 0.95)
    print(f"{images:,} images, {draws:,} draws, {len(drawn)} metrics: {seconds:.2f} s")
    print(f"kappa {kappa.value:.4f} [{kappa.low:.4f}, {kappa.high:.4f}]")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
