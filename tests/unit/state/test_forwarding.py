"""Forwarding is switched on where it must be, and set back, also by the agent after a killed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wgmesh_agent.state.forwarding import Forwarding


@pytest.fixture
def net(tmp_path: Path) -> Path:
    for name, value in {"wgblue": "0", "lan0": "0", "lan1": "1", "eth0": "0"}.items():
        folder = tmp_path / "net/ipv4/conf" / name
        folder.mkdir(parents=True)
        (folder / "forwarding").write_text(f"{value}\n")
    (tmp_path / "net/ipv6/conf/all").mkdir(parents=True)
    (tmp_path / "net/ipv6/conf/all/forwarding").write_text("0\n")
    return tmp_path / "net"


def values(net: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text().strip() for path in net.glob("ipv4/conf/*/forwarding")}


def test_only_the_interfaces_named_forward(net: Path, tmp_path: Path) -> None:
    Forwarding(tmp_path, net).settle([(4, "wgblue"), (4, "lan0")])
    assert values(net) == {"wgblue": "1", "lan0": "1", "lan1": "1", "eth0": "0"}


def test_what_was_switched_on_goes_back_and_what_was_on_stays(net: Path, tmp_path: Path) -> None:
    Forwarding(tmp_path, net).settle([(4, "wgblue"), (4, "lan0"), (4, "lan1")])
    successor = Forwarding(tmp_path, net)
    successor.settle([(4, "wgblue"), (4, "lan0"), (4, "lan1")])
    successor.settle([(4, "wgblue")])
    assert values(net) == {"wgblue": "1", "lan0": "0", "lan1": "1", "eth0": "0"}
    Forwarding(tmp_path, net).settle(())
    assert values(net) == {"wgblue": "0", "lan0": "0", "lan1": "1", "eth0": "0"}


def test_an_interface_that_is_gone_and_a_damaged_note_hinder_nothing(net: Path, tmp_path: Path) -> None:
    (tmp_path / "forwarding.json").write_text("{")
    Forwarding(tmp_path, net).settle([(4, "wgblue"), (4, "nosuch")])
    assert values(net)["wgblue"] == "1"


def test_ipv6_is_left_alone_and_said(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forwarding = Forwarding(tmp_path, net)
    for _ in range(2):
        forwarding.settle([(6, "wgblue"), (6, "lan0")])
    assert values(net)["wgblue"] == "0"
    assert (net / "ipv6/conf/all/forwarding").read_text() == "0\n"
    said = capsys.readouterr()
    assert (said.out + said.err).count("net.ipv6.conf.all.forwarding=1") == 1
