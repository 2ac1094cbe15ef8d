"""`wgmesh info` against an agent on a real socket."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from wgmesh_api.agent_pb2 import MemberInfo, MemberInfoTag, MeshInfo

COMMAND = [sys.executable, "-m", "wgmesh_agent.cli.main", "info"]
DEADLINE_SECONDS = 20


def tag(key: str, value: str) -> MemberInfoTag:
    return MemberInfoTag(key=key, value=value)


@pytest.fixture
def mesh(agent: Any) -> Any:
    """A mesh of three, this node being alpha."""
    now = int(time.time())
    agent.info = MeshInfo(
        name="blue",
        nodeCount=3,
        nodeName="alpha",
        meshCeationTS=1_614_419_131,
        nodeJoinTS=1_614_419_191,
        interface="wgblue",
        backend="kernel",
        pubkey="pk=",
        meshCidrs=["10.232.0.0/16"],
        meshIPs=["10.232.1.1"],
        gossipProfile="lan",
        gossipEncrypted=True,
        tls=True,
        mtu=1420,
        version="0.1.0",
        endpoint="192.0.2.1:54540",
        bootstrap=True,
        refusals={"key_taken": 2},
    )
    agent.members = [
        MemberInfo(
            nodeName="gamma",
            addr="10.232.1.3",
            status="failed",
            rttUsec=-1,
            meshIPs=["10.232.1.3", "fd00::3"],
            probed=True,
            lastProbeMsecAgo=-1,
        ),
        MemberInfo(
            nodeName="beta",
            addr="10.232.1.2",
            status="alive",
            rttMsec=0,
            rttUsec=420,
            tags=[tag("role", "db"), tag("_pk", "hidden"), tag("az", "1")],
            endpoint="192.0.2.2:54540",
            lastHandshakeTS=now - 3700,
            rxBytes=1536,
            txBytes=20 * 2**20,
            meshIPs=["10.232.1.2"],
            pubkey="beta=",
            probed=True,
            receiving=True,
            lastProbeMsecAgo=1500,
        ),
        MemberInfo(
            nodeName="alpha",
            addr="10.232.1.1",
            status="alive",
            isLocalNode=True,
            bootstrap=True,
            endpoint="192.0.2.1:54540",
            meshIPs=["10.232.1.1"],
        ),
    ]
    return agent


def cells(line: str) -> list[str]:
    return re.split(r"  +", line)


def test_the_header_reads_as_in_the_original(cli: Any, mesh: Any) -> None:
    first, second, third, hearing, fourth = cli("info").out.splitlines()[:5]
    assert re.fullmatch(r"Mesh 'blue' has 3 nodes, started 2021-02-\d\d \d\d:\d\d:31 [+-]\d{4} \w+", first)
    assert second.startswith("This node 'alpha' joined 2021-02-")
    assert third == "It is a bootstrap node, on wgblue (kernel WireGuard), reached at 192.0.2.1:54540"
    assert hearing == "Peers: 1 of 2 reachable, 0 confirm receiving from this node"
    assert fourth == "Rejected claims of other members: key_taken 2"


def test_the_table_has_a_line_for_each_member_by_name(cli: Any, mesh: Any) -> None:
    lines = cli("info").out.splitlines()[6:]
    assert cells(lines[0]) == [
        "Name",
        "Address",
        "Status",
        "RTT",
        "Tags",
        "Endpoint",
        "Last probe",
        "Last handshake",
        "Received",
        "Sent",
    ]
    assert cells(lines[1]) == ["alpha", "10.232.1.1", "alive", "-", "192.0.2.1:54540", "-", "-", "-", "-"]
    assert cells(lines[2]) == [
        "beta",
        "10.232.1.2",
        "alive",
        "0.42ms",
        "az=1, role=db",
        "192.0.2.2:54540",
        "1s ago, inbound only",
        "1h 1m ago",
        "1.5 KiB",
        "20.0 MiB",
    ]
    assert cells(lines[3]) == [
        "gamma",
        "10.232.1.3 fd00::3",
        "failed",
        "-",
        "-",
        "never",
        "never",
        "0 B",
        "0 B",
    ]


def test_a_member_that_fell_silent_is_told_with_how_long_ago(cli: Any, mesh: Any) -> None:
    mesh.members[0].lastProbeMsecAgo = 90_000
    mesh.members[1].peerReceiving = True
    out = cli("info").out
    assert "no, 1m ago" in out
    assert "192.0.2.2:54540  1s ago " in out
    assert "Peers: 1 of 2 reachable, 1 confirm receiving from this node" in out


def test_networks_behind_members_are_named(cli: Any, mesh: Any) -> None:
    mesh.members[1].routes.extend(["192.168.7.0/24", "fd07::/64"])
    assert "Routes via beta: 192.168.7.0/24, fd07::/64" in cli("info").out.splitlines()
    assert json.loads(cli("info", "-o", "json").out)["members"][1]["routes"] == [
        "192.168.7.0/24",
        "fd07::/64",
    ]


def test_paths_that_carry_less_than_the_interface_sends_are_named(cli: Any, mesh: Any) -> None:
    mesh.members[1].pathMTU = 1408
    assert "MTUMismatch" not in cli("info").out
    mesh.members[1].pathMTU = 1216
    line = "MTUMismatch: the path MTU is below the interface's 1420 bytes: beta 1216"
    assert line in cli("info").out.splitlines()
    assert json.loads(cli("info", "-o", "json").out)["members"][1]["pathMtu"] == 1216


def test_who_is_reached_through_a_relay_is_shown_so(cli: Any, mesh: Any) -> None:
    beta = next(member for member in mesh.members if member.nodeName == "beta")
    beta.relay = "alpha"
    (line,) = [line for line in cli("info").out.splitlines() if line.strip().startswith("beta")]
    assert "via alpha" in line
    assert beta.endpoint not in line
    assert json.loads(cli("info", "-o", "json").out)["members"][1]["relay"] == "alpha"


def test_which_tunnels_go_without_a_pre_shared_key_is_said_where_some_are_to_have_one(
    cli: Any, mesh: Any
) -> None:
    assert "pre-shared" not in cli("info").out
    mesh.info.secretIds.append(b"\x01\x02\x03\x04")
    assert "0 of 2 tunnels use a pre-shared key; without: beta, gamma" in cli("info").out.splitlines()
    mesh.members[1].presharedKey = True
    assert "1 of 2 tunnels use a pre-shared key; without: gamma" in cli("info").out.splitlines()
    document = json.loads(cli("info", "-o", "json").out)
    assert document["node"]["secretIds"] == ["01020304"]
    assert [member["presharedKey"] for member in document["members"]] == [None, True, False]


def test_a_node_behind_a_translator_says_so(cli: Any, mesh: Any) -> None:
    assert "behind NAT" not in cli("info").out
    mesh.info.behindNat = True
    assert ", behind NAT" in cli("info").out


def test_a_mesh_without_encryption_says_so_loudly(cli: Any, mesh: Any) -> None:
    assert "DEVELOPMENT MODE" not in cli("info").out
    mesh.info.gossipEncrypted = False
    assert "anyone who can reach a bootstrap node can join" in cli("info").out
    assert "DEVELOPMENT MODE" in cli("info").out


def test_an_agent_of_the_original_is_understood(cli: Any, agent: Any) -> None:
    agent.info = MeshInfo(name="old", nodeCount=1, nodeName="n", meshCeationTS=1, nodeJoinTS=1)
    agent.members = [MemberInfo(nodeName="n", addr="10.232.1.1", status="alive", rttMsec=38)]
    outcome = cli("info")
    assert outcome.code == 0
    assert cells(outcome.out.splitlines()[-1])[:4] == ["n", "10.232.1.1", "alive", "38ms"]


def test_json_is_as_documented(cli: Any, mesh: Any) -> None:
    document = json.loads(cli("info", "-o", "json").out)
    assert document["mesh"] == {
        "name": "blue",
        "nodeCount": 3,
        "created": 1_614_419_131,
        "cidrs": ["10.232.0.0/16"],
        "gossipProfile": "lan",
        "gossipEncrypted": True,
        "tls": True,
    }
    assert document["node"] == {
        "name": "alpha",
        "joined": 1_614_419_191,
        "addresses": ["10.232.1.1"],
        "endpoint": "192.0.2.1:54540",
        "pubkey": "pk=",
        "bootstrap": True,
        "behindNat": False,
        "interface": "wgblue",
        "backend": "kernel",
        "mtu": 1420,
        "version": "0.1.0",
        "secretIds": [],
        "refusals": {"key_taken": 2},
        "rejectedInput": {},
    }
    alpha, beta, gamma = document["members"]
    assert (alpha["name"], alpha["local"], alpha["rttMs"]) == ("alpha", True, None)
    assert beta == {
        "name": "beta",
        "addresses": ["10.232.1.2"],
        "status": "alive",
        "rttMs": 0.42,
        "tags": {"az": "1", "role": "db"},
        "local": False,
        "bootstrap": False,
        "endpoint": "192.0.2.2:54540",
        "relay": None,
        "pubkey": "beta=",
        "lastHandshake": mesh.members[1].lastHandshakeTS,
        "rxBytes": 1536,
        "txBytes": 20 * 2**20,
        "presharedKey": False,
        "pathMtu": None,
        "routes": [],
        "reachable": True,
        "peerReceiving": False,
        "heard": True,
        "hearsUs": False,
        "heardSecondsAgo": 1.5,
    }
    assert (alpha["heard"], gamma["heard"], gamma["heardSecondsAgo"]) == (None, False, None)
    assert (alpha["reachable"], gamma["reachable"], alpha["peerReceiving"]) == (None, False, None)
    assert (gamma["rttMs"], gamma["endpoint"], gamma["lastHandshake"]) == (None, None, None)


def test_every_json_field_is_in_the_documentation(cli: Any, mesh: Any) -> None:
    text = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    document = json.loads(cli("info", "-o", "json").out)
    fields = [*document["mesh"], *document["node"], *document["members"][0]]
    assert [field for field in fields if f".{field}`" not in text] == []


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], DEADLINE_SECONDS)
    assert ready, "nothing was printed in time"
    return process.stdout.readline()


def test_watching_prints_a_document_a_line_on_each_change_until_interrupted(mesh: Any) -> None:
    with subprocess.Popen([*COMMAND, "-watch", "-o", "json"], stdout=subprocess.PIPE, text=True) as process:
        assert json.loads(read_line(process))["mesh"]["nodeCount"] == 3
        assert mesh.waiting.acquire(timeout=DEADLINE_SECONDS)
        mesh.change(timed_out=True)
        assert mesh.waiting.acquire(timeout=DEADLINE_SECONDS)
        mesh.info.nodeCount = 2
        mesh.change()
        assert json.loads(read_line(process))["mesh"]["nodeCount"] == 2
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=DEADLINE_SECONDS)[0]
    assert process.returncode == 0
    assert rest == ""


def test_watching_asks_for_changes_before_it_looks(mesh: Any) -> None:
    was_asked: list[bool] = []
    # the agent's threads may serve the two in either order; asked too late, this would run into its deadline
    mesh.before_info = lambda: was_asked.append(mesh.waiting.acquire(timeout=3))
    with subprocess.Popen([*COMMAND, "--watch", "-o", "json"], stdout=subprocess.PIPE, text=True) as process:
        assert read_line(process)
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_SECONDS)
    assert was_asked == [True]


def test_a_watched_agent_that_goes_away_is_a_failure(mesh: Any) -> None:
    mesh.wait_failure = (grpc.StatusCode.UNAVAILABLE, "going down")
    done = subprocess.run([*COMMAND, "-watch"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "stopped answering" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.heavy
def test_a_reader_that_goes_away_makes_no_noise(mesh: Any) -> None:
    mesh.members = [
        MemberInfo(nodeName=f"n{number}", addr="10.0.0.1", status="alive") for number in range(5000)
    ]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            COMMAND, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == ""


def on_a_terminal(**environment: str) -> str:
    """What `wgmesh info` prints on a terminal."""
    primary, secondary = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
    with subprocess.Popen(COMMAND, stdout=secondary, env=env) as process:
        os.close(secondary)
        printed = b""
        while chunk := _read(primary):
            printed += chunk
        process.wait(DEADLINE_SECONDS)
    os.close(primary)
    return printed.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.heavy
def test_colour_on_a_terminal_and_none_for_those_who_refuse_it(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfailed" in on_a_terminal()
    assert "\x1b[31m" not in on_a_terminal(NO_COLOR="1")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "stopped answering: reason"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "took too long"),
        (grpc.StatusCode.UNIMPLEMENTED, "another version"),
        (grpc.StatusCode.INTERNAL, "failed: reason"),
    ],
)
def test_an_agent_that_fails_is_explained_in_a_line(
    cli: Any, agent: Any, code: grpc.StatusCode, said: str
) -> None:
    agent.failure = (code, "reason")
    outcome = cli("info")
    assert outcome.code == 1
    assert said in outcome.err
    assert len(outcome.err.splitlines()) == 1
