"""One finished tiny rebuild; each test module that changes things works in a copy of its own."""

import pytest

from support.pipeline_copy import DROPPED, TINY, PipelineCopy


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The pipeline after `dvc repro` and a commit. Never change it: take a `duplicate`."""
    copy = PipelineCopy(tmp_path_factory.mktemp("finished") / "copy", TINY, drop=DROPPED)
    copy.ran = copy.repro()
    copy.commit("first run")
    return copy
