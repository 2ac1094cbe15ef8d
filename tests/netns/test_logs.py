"""What agents write: for programs, or for a person at a terminal."""

from __future__ import annotations

import json

import pytest
from tests.netns.mesh_harness import lab_mesh

pytestmark = pytest.mark.netns


def test_a_log_of_json_is_json_in_every_line() -> None:
    with lab_mesh(2, options=("-log-format", "json", "-v")) as mesh:
        lines = [line for agent in mesh.agents.values() for line in agent.log.read_text().splitlines()]
    events = [json.loads(line)["event"] for line in lines]
    assert "member bound" in events


def test_a_log_of_text_greets_whoever_started_the_agent() -> None:
    with lab_mesh(1) as mesh:
        said = mesh.first.log.read_text()
    assert "** " in said
    assert "wgmesh info" in said
