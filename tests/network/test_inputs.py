"""What a network takes, and reading ahead."""

import threading

import numpy as np
import pytest
import torch

from mammo.network.inputs import IMAGENET, TENSORFLOW, network_input, read_ahead


@pytest.mark.parametrize("normalisation", [IMAGENET, TENSORFLOW])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grey_images_become_normalised_rgb_channels_last(dtype, normalisation):
    images = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)
    rgb = network_input(images, torch.device("cpu"), dtype, normalisation)
    mean = torch.tensor(normalisation.mean).view(1, 3, 1, 1)
    std = torch.tensor(normalisation.std).view(1, 3, 1, 1)
    expected = ((torch.from_numpy(images)[:, None] - mean) / std).to(dtype)
    assert torch.equal(rgb, expected)
    assert rgb.shape == (3, 3, 5, 7)
    assert rgb.is_contiguous(memory_format=torch.channels_last)


def test_the_next_items_are_made_in_another_thread_and_in_order():
    makers = []

    def items():
        for number in range(5):
            makers.append(threading.current_thread())
            yield number

    assert list(read_ahead(items())) == [0, 1, 2, 3, 4]
    assert threading.main_thread() not in makers


def test_a_failure_while_reading_ahead_reaches_the_reader():
    def items():
        yield 1
        raise OSError("broken shard")

    reading = read_ahead(items())
    assert next(reading) == 1
    with pytest.raises(OSError, match="broken shard"):
        next(reading)
