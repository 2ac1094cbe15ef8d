"""The limit of descriptors: raised as far as the machine lets, and never lowered."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from wgmesh_agent.daemon.descriptors import WANTED, raise_limit


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised(limits: tuple[int, int]) -> None:
    soft, hard = limits
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    assert raise_limit() == most
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert raise_limit() == hard
