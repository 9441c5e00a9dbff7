"""The committed params.yaml, to be changed."""

import copy

import pytest

from mammo.params import read_params


@pytest.fixture
def values():
    return copy.deepcopy(read_params())
