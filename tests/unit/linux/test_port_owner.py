"""Owner of a port: by name and process, or the reason why it is unknown."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wgmesh_agent.linux.port_owner import PortTaken, holders, needing

OWN = f"(process {os.getpid()})"


@pytest.mark.parametrize(("protocol", "kind"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_held_by_the_process_that_has_its_socket(
    protocol: str, kind: socket.SocketKind, family: socket.AddressFamily, address: str
) -> None:
    with socket.socket(family, kind) as held:
        held.bind((address, 0))
        if kind is socket.SOCK_STREAM:
            held.listen()
        assert OWN in holders(held.getsockname()[1], (protocol,))


def test_a_port_of_the_kernel_s_own_has_no_process(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "udp").write_text(
        "  sl  local_address rem_address   st tx rx tr tm retrnsmt   uid  timeout inode\n"
        " 1: 00000000:D50C 00000000:0000 07 0:0 00:0 0 0 0 0 2 0 0\n"
    )
    assert holders(0xD50C, ("udp",), tmp_path) == "the kernel, as for WireGuard's ports"
    assert holders(1, ("udp",), tmp_path) == "a program that is not visible from here"


def test_a_fault_names_port_setting_and_holder() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with (
            pytest.raises(
                PortTaken, match=rf"UDP port {port} \(probes\) is in use by .* \(process \d+\): stop that"
            ),
            needing(port, ("udp",), "probes"),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            other.bind(("127.0.0.1", port))


def test_other_faults_are_left_as_they_are() -> None:
    with pytest.raises(PermissionError), needing(1, ("udp",), "probes"):
        raise PermissionError(1, "Operation not permitted")
