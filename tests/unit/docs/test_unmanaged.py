"""The files that keep network managers off the mesh's interfaces come with the package, and are documented."""

from __future__ import annotations

import configparser
from importlib.resources import files
from pathlib import Path

FOLDER = files("wgmesh_agent") / "unmanaged"
NETWORKING = (Path(__file__).parents[3] / "docs" / "networking.md").read_text()


def read(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((FOLDER / name).read_text())
    return parser


def test_systemd_networkd_is_told_to_leave_interfaces_routes_and_rules_alone() -> None:
    link, daemon = read("00-wgmesh.network"), read("50-wgmesh-networkd.conf")
    assert link["Match"]["Name"] == "wg*"
    assert link["Link"]["Unmanaged"] == "yes"
    assert dict(daemon["Network"]) == {"manageforeignroutes": "no", "manageforeignroutingpolicyrules": "no"}


def test_networkmanager_is_told_to_leave_interfaces_alone() -> None:
    text = (FOLDER / "50-wgmesh-networkmanager.conf").read_text()
    assert "unmanaged-devices+=interface-name:wg*" in text.splitlines()


def test_each_file_is_documented() -> None:
    for file in FOLDER.iterdir():
        assert file.name in NETWORKING
