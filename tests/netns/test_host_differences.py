"""The host's routing is unchanged: `ip route get` before and after a mesh, on random hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
ROOT = Path(__file__).parents[2]


def differences(seed: int, version: int) -> list[str]:
    program = [sys.executable, str(Path(__file__).with_name("random_host.py")), str(seed), str(version)]
    done = subprocess.run(
        ["unshare", "--net", *program],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_a_mesh_changes_the_way_of_no_packet_but_its_own(version: int, host_seed: int) -> None:
    wrong = differences(host_seed, version)
    assert not wrong, json.dumps(wrong, indent=1)
