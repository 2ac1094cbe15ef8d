"""`tags`, `rtt`, `leave`, and every way of not reaching the agent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from wgmesh_agent.cli.tags import parse_tag
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_api.agent_pb2 import LeaveResult, RotateKeysRequest, RotateKeysResult, RTTInfo, RTTNodeInfo


class TestTags:
    def test_without_flags_it_lists_own_tags_by_name(self, cli: Any, agent: Any) -> None:
        agent.tags = {"role": "db", "_pk": "hidden", "az": "1"}
        assert cli("tags").out == "az=1\nrole=db\n"

    def test_no_tags_are_told(self, cli: Any, agent: Any) -> None:
        assert cli("tags").out == "no tags\n"

    def test_json_is_an_object(self, cli: Any, agent: Any) -> None:
        agent.tags = {"role": "db"}
        assert json.loads(cli("tags", "-o", "json").out) == {"role": "db"}

    def test_several_are_set_and_deleted_at_once(self, cli: Any, agent: Any) -> None:
        agent.tags = {"old": "1", "older": "2"}
        outcome = cli("tags", "-set", "role=db", "--set=note=a=b", "-delete", "old", "-delete=older")
        assert outcome.code == 0
        assert agent.tags == {"role": "db", "note": "a=b"}

    def test_a_tag_may_be_empty_and_may_look_like_a_flag(self, cli: Any, agent: Any) -> None:
        assert cli("tags", "-set", "x=", "-set", "-dash=1").code == 0
        assert agent.tags == {"x": "", "-dash": "1"}

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (("-set", "_pk=x"), "_pk was not set: names that begin with _ are reserved"),
            (("-delete", "nope"), "nope was not deleted: there is no such tag"),
        ],
    )
    def test_what_the_agent_refuses_is_told(
        self, cli: Any, agent: Any, args: tuple[str, ...], said: str
    ) -> None:
        outcome = cli("tags", *args)
        assert outcome.code == 1
        assert said in outcome.err

    def test_a_service_is_announced(self, cli: Any, agent: Any) -> None:
        assert cli("tags", "-set", "svc:web=port=80,proto=http").code == 0
        assert agent.tags == {"svc:web": "port=80,proto=http"}

    @pytest.mark.parametrize(
        "text",
        [
            "novalue",
            "=x",
            "",
            "svc:=port=1",
            "svc:web=",
            "svc:web=80",
            "svc:web=port=0",
            "svc:web=port=65536",
            "svc:web=port=http",
            "svc:web=port=80,,x=1",
            "svc:web=port=80,=1",
            "svc:a b=port=1",
        ],
    )
    def test_a_tag_that_makes_no_sense_is_wrong_use_and_never_sent(
        self, cli: Any, agent: Any, text: str
    ) -> None:
        outcome = cli("tags", "-set", "fine=1", "-set", text)
        assert outcome.code == 2
        assert outcome.err.startswith("wgmesh: -set: ")
        assert agent.tags == {}

    def test_a_value_may_hold_equals_signs(self) -> None:
        assert parse_tag("a=b=c") == ("a", "b=c")
        with pytest.raises(SettingsError):
            parse_tag("a")


class TestRTT:
    @pytest.fixture
    def answers(self, agent: Any) -> Any:
        def row(name: str, *rtts: tuple[str, int, int]) -> RTTInfo:
            return RTTInfo(
                nodeName=name,
                rtts=[RTTNodeInfo(nodeName=n, rttMsec=msec, rttUsec=usec) for n, msec, usec in rtts],
            )

        agent.rtts = [
            row("beta", ("alpha", 7, 7100), ("gamma", 0, -1)),
            row("alpha", ("beta", 0, 420), ("gamma", 38, 0)),
        ]
        return agent

    def test_it_prints_all_nodes_by_all_nodes(self, cli: Any, answers: Any) -> None:
        assert cli("rtt").out == (
            "from / to   alpha    beta  gamma\n"
            "alpha           -  0.42ms   38ms\n"
            "beta       7.10ms       -      -\n"
            "gamma           -       -      -\n"
        )

    def test_json_is_by_node_asked_and_node_measured(self, cli: Any, answers: Any) -> None:
        assert json.loads(cli("rtt", "-o", "json").out) == {
            "alpha": {"beta": 0.42, "gamma": 38.0},
            "beta": {"alpha": 7.1, "gamma": None},
        }


class TestLeave:
    def test_this_node_leaves(self, cli: Any, agent: Any) -> None:
        assert cli("leave").out == "This node has left the mesh.\n"
        assert agent.left == [""]

    def test_a_failed_member_is_taken_out(self, cli: Any, agent: Any) -> None:
        assert cli("leave", "beta").out == "beta has been removed from the mesh.\n"
        assert agent.left == ["beta"]

    def test_a_refusal_is_told(self, cli: Any, agent: Any) -> None:
        agent.leave_result = LeaveResult(ok=False, message="beta is alive")
        outcome = cli("leave", "beta")
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err == "wgmesh: beta was not removed from the mesh: beta is alive\n"


class TestKeys:
    def test_what_was_done_is_told(self, cli: Any, agent: Any) -> None:
        assert cli("keys", "rotate", "gossip").out == "Rotated: the new key is used.\n"
        assert agent.rotated == [RotateKeysRequest.GOSSIP]

    def test_why_not_is_told(self, cli: Any, agent: Any) -> None:
        agent.rotation_result = RotateKeysResult(
            ok=False, message="n3 does not answer; the old key stays in use"
        )
        outcome = cli("keys", "rotate", "gossip")
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err == "wgmesh: not rotated: n3 does not answer; the old key stays in use\n"

    def test_other_keys_than_there_are_is_wrong_use(self, cli: Any, agent: Any) -> None:
        assert cli("keys", "rotate", "ssh").code == 2
        assert agent.rotated == []


class TestNoAgent:
    @pytest.mark.parametrize("command", ["info", "tags", "rtt", "leave", "keys rotate gossip"])
    def test_no_socket_asks_whether_an_agent_runs(self, cli: Any, command: str) -> None:
        outcome = cli(*command.split(), "-agent-grpc-socket", "/nowhere/wgmesh.sock")
        assert outcome.code == 1
        assert outcome.err.startswith("wgmesh: no agent answers at /nowhere/wgmesh.sock: is `wgmesh join`")
        assert len(outcome.err.splitlines()) == 1

    def test_a_socket_left_behind_is_told_apart(self, cli: Any, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        outcome = cli("info", "-agent-grpc-socket", str(path))
        assert outcome.code == 1
        assert "the agent has terminated" in outcome.err

    def test_a_forbidden_socket_says_what_to_do(self) -> None:
        # root may open every socket: run as the user `nobody`, which may not even read this machine's Python
        program = (
            "import os, sys; from pathlib import Path; from wgmesh_agent.cli.agent_client import agent_at\n"
            "from wgmesh_agent.cli.failure import CommandFailed\n"
            "os.getuid() or os.setuid(65534)\n"
            "try:\n  agent_at(Path(sys.argv[1])).__enter__()\n"
            "except CommandFailed as failure:\n  print(failure)"
        )
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
            path = Path(folder) / "s"
            listening.bind(str(path))
            listening.listen()
            Path(folder).chmod(0o755)
            path.chmod(0o600 if os.getuid() == 0 else 0)
            done = subprocess.run(
                [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
            )
        assert done.stdout.startswith(f"permission denied for the agent's socket {path}: run as root")

    def test_the_socket_is_named_by_flag_variable_or_file(
        self, cli: Any, agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cli("tags").code == 0
        assert cli("tags", "-agent-grpc-socket", "/nowhere").code == 1
        config = tmp_path / "c.yaml"
        config.write_text(f"agent:\n  agent-grpc-socket: {os.environ['WGMESH_AGENT_SOCKET']}\n")
        monkeypatch.delenv("WGMESH_AGENT_SOCKET")
        assert cli("-config", str(config), "tags").code == 0
