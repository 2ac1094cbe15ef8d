"""Who listens on a port, as /proc has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wgmesh_agent.runtime.port_holder import UNKNOWN, listener


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_process_that_listens_is_named_with_its_id(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        found = listener(server.getsockname()[1])
    assert found.endswith(f"(process {os.getpid()})")


def test_one_that_cannot_be_seen_is_said_to_be_so(tmp_path: Path) -> None:
    assert listener(9586, tmp_path) == UNKNOWN


def test_a_port_that_is_only_connected_to_has_no_listener() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert listener(client.getsockname()[1]) == UNKNOWN
