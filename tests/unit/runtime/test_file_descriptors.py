"""The limit of descriptors: raised as far as the machine lets, and never lowered; and what is left undone at it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from wgmesh_agent.mesh.dataplane.handshake_trigger import trigger_handshakes, trigger_in_chunks
from wgmesh_agent.runtime.file_descriptors import WANTED, raise_limit


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


@contextmanager
def no_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_knock_that_finds_no_descriptor_is_nothing() -> None:
    with capture_logs() as logs, no_descriptors():
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        trigger_handshakes([ip_address("127.0.0.1"), ip_address("::1")])
        await trigger_in_chunks(trigger_handshakes, [ip_address("127.0.0.1")])
    assert [line["event"] for line in logs] == ["handshake trigger not sent"] * 3
