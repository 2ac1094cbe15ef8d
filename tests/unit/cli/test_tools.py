"""`demo`, `version`, and how commands end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from wgmesh_agent.cli.units import printable
from wgmesh_agent.mesh.psk.secret_file import read_file


class Demo(ModuleType):
    """Stands for wgmesh_agent.lab.demo."""

    def __init__(self) -> None:
        super().__init__("wgmesh_agent.lab.demo")
        self.ran: list[tuple[int, bool, str]] = []

    def run_demo(self, nodes: int, keep: bool, backend: str) -> int:
        self.ran.append((nodes, keep, backend))
        return 1 if keep else 0


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Demo:
    demo = Demo()
    monkeypatch.setitem(sys.modules, "wgmesh_agent.lab.demo", demo)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return demo


def test_the_demo_runs_three_nodes_unless_told_otherwise(cli: Any, demo: Demo) -> None:
    assert cli("demo").code == 0
    assert cli("demo", "-nodes", "5", "-keep", "-backend=userspace").code == 1
    assert demo.ran == [(3, False, "auto"), (5, True, "userspace")]


def test_the_demo_needs_root_and_says_so(cli: Any, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = cli("demo")
    assert outcome.code == 1
    assert "requires root" in outcome.err
    assert demo.ran == []


@pytest.mark.parametrize("line", ["demo --nodes 1", "demo --nodes many", "demo --backend windows", "demo x"])
def test_a_demo_that_makes_no_sense_is_wrong_use(cli: Any, demo: Demo, line: str) -> None:
    assert cli(*line.split()).code == 2
    assert demo.ran == []


def test_the_version_is_the_installed_one(cli: Any) -> None:
    assert cli("version").out == f"wgmesh {version('wgmesh')}\n"
    assert json.loads(cli("version", "-o", "json").out)["version"] == version("wgmesh")


def test_both_commands_are_installed() -> None:
    folder = os.path.dirname(sys.executable)  # noqa: PTH120 - a link's folder, not its target's
    for name in ("wgmesh", "wgmesh-agent"):
        done = subprocess.run([f"{folder}/{name}", "version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"wgmesh {version('wgmesh')}\n"


def test_printable_text_is_what_complaints_are_made_of() -> None:
    assert printable("a\tb") == r"a\tb"


def test_a_secret_is_made_renewed_and_shown_to_nobody(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "blue.psk"
    made = [cli("keys", "new-psk", str(path))]
    (first,) = read_file(path, "blue")
    made.append(cli("keys", "new-psk", str(path)))
    second, kept = read_file(path, "blue")
    assert kept == first
    made.append(cli("keys", "new-psk", str(path)))
    third, kept = read_file(path, "blue")
    assert kept == second
    assert len({one.raw for one in (first, second, third)}) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert [outcome.code for outcome in made] == [0, 0, 0]
    assert not any(b64encode(one.raw).decode() in str(made) for one in (first, second, third))


def test_a_file_that_others_may_read_or_that_is_another_is_left_alone(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "blue.psk"
    path.write_text("something else\n")
    path.chmod(0o644)
    assert "chmod 600" in cli("keys", "new-psk", str(path)).err
    path.chmod(0o600)
    outcome = cli("keys", "new-psk", str(path))
    assert outcome.code == 1
    assert "line 1 is not the base64 of 32 bytes" in outcome.err
    assert path.read_text() == "something else\n"
    assert "no such file" in cli("keys", "new-psk", str(tmp_path / "none" / "psk")).err
