"""The moving average against its formula, step by step."""

import pytest
import torch

from mammo.training.averaging import MovingAverage


def follow(values, decay):
    module = torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        module.weight.fill_(0)
    average = MovingAverage(module, decay)
    for value in values:
        with torch.no_grad():
            module.weight.fill_(value)
        module.running_mean.fill_(2 * value)
        module.num_batches_tracked += 1
        average.update(module)
    return average


def test_early_steps_forget_faster_than_the_decay():
    # step 1: d = 2/11, average = 9/11 x 1; step 2: d = 3/12, average = 1/4 x 9/11 + 3/4 x 2
    average = follow([1, 2], decay=0.999)
    expected = 0.25 * 9 / 11 + 0.75 * 2
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.running_mean.item() == pytest.approx(2 * expected)
    assert average.module.num_batches_tracked == 2


def test_the_decay_bounds_from_above():
    # d = .1 < 2/11 at every step: .9 x 1, then .1 x .9 + .9 x 2
    assert follow([1, 2], decay=0.1).module.weight.item() == pytest.approx(0.1 * 0.9 + 0.9 * 2)


def test_a_restored_average_goes_on():
    whole, half = follow([1, 2, 3], 0.9), follow([1, 2], 0.9)
    resumed = MovingAverage(torch.nn.BatchNorm1d(1), 0.9)
    resumed.restore(half.state())
    last = torch.nn.BatchNorm1d(1)
    last.load_state_dict(whole.module.state_dict())
    with torch.no_grad():
        last.weight.fill_(3)
    resumed.update(last)
    assert resumed.module.weight.item() == pytest.approx(whole.module.weight.item())
