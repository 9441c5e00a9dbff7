"""Predict as a deployed network does: pixels -> the whole network -> probabilities."""

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric

from mammo.evaluation import EvaluateParams, mean_probabilities
from mammo.networks import Network
from mammo.sources import FlippedPixels, Pixels
from mammo.strategies import fold_batchnorm
from mammo.tensors import Tensors
from mammo.training import predict


def predict_from_pixels(
    network: Network,
    tensors: Tensors,
    keys: Sequence[str],
    params: EvaluateParams,
    fabric: Fabric,
    dtype: torch.dtype,
) -> np.ndarray:
    """Predict images, never from stored activations: (n, K) probabilities in the order of `keys`.

    Args:
        network: With the trained suffix.
        tensors: The images.
        keys: Which ones.
        params: Batch size, test-time flip.
        fabric: Device and processes.
        dtype: Of the prefix's arithmetic.
    """
    prefix = fold_batchnorm(network.prefix, dtype).to(fabric.device)
    suffix, positions = network.suffix.to(fabric.device), tensors.positions(keys)
    views = [Pixels, FlippedPixels] if params.test_time_flip else [Pixels]
    logits = [
        predict(suffix, view(tensors, prefix, dtype), positions, fabric, params.batch_size)
        for view in views
    ]
    return mean_probabilities(logits)
