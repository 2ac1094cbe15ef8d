"""`wgmesh doctor`: what it prints, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.diagnosis.fixtures import INFO, MACHINE, link, own, silent

from wgmesh_agent.cli import machine
from wgmesh_api.agent_pb2 import ExamineResult


@pytest.fixture
def well(agent: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An agent and a machine with nothing wrong."""
    agent.info = INFO
    agent.examined = ExamineResult(ok=True, own=own(), links=[link(), link(nodeName="n3")], linkCount=2)
    monkeypatch.setattr(machine, "inspect_machine", lambda *_, **__: MACHINE)
    return agent


def test_all_is_well_in_a_line_and_exit_0(cli: Any, well: Any) -> None:
    outcome = cli("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "No problems found: 2 of 2 links of n1 are up; inspected: n2, n3.\n"


def test_a_finding_is_told_with_how_it_was_seen_and_what_to_do_and_exit_1(cli: Any, well: Any) -> None:
    well.examined = ExamineResult(
        ok=True, own=own(), links=[silent(portAnswer="Connection refused")], linkCount=2, badCount=1
    )
    outcome = cli("doctor", "n2")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    assert lines[0] == "The WireGuard port of n2 is closed."
    assert lines[1].startswith(
        "  evidence: a UDP packet to 192.0.2.2:54540 caused the error: Connection refused"
    )
    assert lines[2].startswith("  fix:      Check that its interface is up")
    assert lines[-1] == "1 of 2 links of n1 are up; inspected: n2."


@pytest.mark.parametrize("flags", [["-json"], ["--json"], ["-o", "json"]])
def test_json_is_for_machines(cli: Any, well: Any, flags: list[str]) -> None:
    well.examined = ExamineResult(
        ok=True, own=own(), links=[link(largePasses=False)], linkCount=2, badCount=0
    )
    outcome = cli("doctor", *flags)
    assert outcome.code == 1
    document = json.loads(outcome.out)
    (finding,) = document.pop("findings")
    assert document == {
        "well": False,
        "mesh": "blue",
        "node": "n1",
        "links": {"all": 2, "bad": 0, "lookedAt": ["n2"]},
    }
    assert (finding["code"], finding["about"]) == ("mtu", "n2")
    assert set(finding) == {"code", "about", "problem", "evidence", "remedy", "what", "seen", "do"}
    assert [finding[name] for name in ("what", "seen", "do")] == [
        finding[name] for name in ("problem", "evidence", "remedy")
    ]


def test_a_name_from_elsewhere_cannot_paint_the_terminal(cli: Any, well: Any) -> None:
    well.examined = ExamineResult(ok=True, own=own(), links=[silent(portAnswer="\x1b[31mred")], linkCount=1)
    out = cli("doctor").out
    assert "\x1b" not in out
    assert "\\x1b[31mred" in out


def test_a_member_that_there_is_not_is_a_failure_in_a_sentence(cli: Any, well: Any) -> None:
    well.examined = ExamineResult(message="this mesh has no member 'x'")
    outcome = cli("doctor", "x")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "wgmesh: nothing was inspected: this mesh has no member 'x'\n"


def test_an_agent_of_another_version_is_told_apart_from_none(cli: Any, agent: Any, tmp_path: Any) -> None:
    agent.info = INFO
    codes = {one["code"] for one in json.loads(cli("doctor", "-json").out)["findings"]}
    assert "agent_silent" in codes
    socket = str(tmp_path / "none.sock")
    document = json.loads(cli("doctor", "-json", "-agent-grpc-socket", socket).out)
    assert "agent_down" in {one["code"] for one in document["findings"]}
    assert (document["mesh"], document["links"]) == (None, None)
