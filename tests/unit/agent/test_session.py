"""A session from its start to its end: what it serves, what it leaves, and what it takes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.unit.agent.sessions import ADDRESS, SessionHarness
from tests.unit.waiting import until

from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_end import SessionOutcome
from wgmesh_agent.agent.session_start import SessionConfig, SessionStart
from wgmesh_agent.linux.address_monitor import HostChange
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.log_levels import LogFormat
from wgmesh_agent.runtime.supervisor import Component, FatalError
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.diff import SetPeer
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint

BETA = Claim(
    "beta",
    PublicKey(bytes([2]) * 32),
    (ip_address("127.0.0.2"),),
    (Endpoint(ip_address("192.0.2.2"), 54540),),
)


async def test_a_session_that_is_stopped_stays_a_member(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path)
    async with harness.running(BETA) as task:
        assert harness.socket.is_socket()
        assert (await harness.backend.read()).peers.keys() == {BETA.public_key}
        harness.stop.set()
        assert await task is SessionOutcome.STOP
    assert not harness.socket.exists()
    assert (await harness.backend.read()).peers.keys() == {BETA.public_key}
    kept = {
        name: json.loads((harness.store.path / name).read_text()) for name in ("mesh.json", "members.json")
    }
    assert kept["mesh.json"]["content"]["node"] == "alpha"
    assert [member["node"] for member in kept["members.json"]["content"]] == ["beta"]


@pytest.mark.parametrize("how", ["signal", "request", "companion"])
async def test_a_session_that_leaves_takes_all_it_made_from_the_machine(tmp_path: Path, how: str) -> None:
    harness = SessionHarness(tmp_path)
    async with harness.running(BETA) as task:
        if how == "signal":
            harness.leave.set()
        elif how == "request":
            await harness.session.leave()
        else:
            harness.session.end.leave_requested.set()
        assert await task is SessionOutcome.LEFT
    assert harness.session.end.has_left
    assert not harness.socket.exists()
    assert harness.backend.device is None
    assert not harness.store.path.exists()
    assert "delete table inet wgmesh-wgblue" in harness.machine.tables[-1]


async def test_who_asks_twice_to_leave_has_it_leave_once(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path)
    async with harness.running():
        await asyncio.gather(harness.session.leave(), harness.session.leave())
    assert harness.backend.destroyed == 1


async def test_a_part_that_fails_for_good_ends_the_session_with_its_error(tmp_path: Path) -> None:
    class NameLost(FatalError):
        """Another node's."""

    async def lose() -> None:
        raise NameLost("alpha is another's")

    def companions(session: Session) -> Iterable[Component]:
        return (Component("conflict", lose),)

    harness = SessionHarness(tmp_path, companions=companions)
    async with harness.running() as task:
        with pytest.raises(NameLost, match="alpha is another's"):
            await task
    assert not harness.socket.exists()
    assert harness.backend.device is not None


async def test_a_session_goes_on_with_other_facts_in_the_next_one(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path)
    async with harness.running() as task:
        session = harness.session
        start = SessionStart(
            SessionConfig(None, None, None), session.node.policies, session.node.record, fresh=True
        )
        session.end.restart_with(start)
        assert await task is SessionOutcome.RESTARTED
    assert harness.session.end.next_start is start
    assert harness.backend.device is not None


async def test_companions_are_given_the_session_once_it_serves(tmp_path: Path) -> None:
    seen: list[bool] = []

    def companions(session: Session) -> Iterable[Component]:
        seen.append((tmp_path / "agent.sock").is_socket())
        return ()

    harness = SessionHarness(tmp_path, companions=companions)
    async with harness.running():
        assert seen == [True]


async def test_a_socket_that_cannot_be_made_ends_the_session_and_its_node(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path)
    harness.socket.write_text("somebody's")
    async with harness.running() as task:
        with pytest.raises(OSError, match="exists and is not a socket"):
            await task
    # The port of gossip is free again: another session can begin.
    again = SessionHarness(tmp_path / "again")
    async with again.running():
        assert again.session.has_started


async def test_members_are_written_to_the_file_that_the_user_named(tmp_path: Path) -> None:
    listed = tmp_path / "members.json"
    harness = SessionHarness(tmp_path, memberlist_file=listed)
    async with harness.running():
        await until(listed.exists)
        own = json.loads(listed.read_text())["members"]["alpha"]
        assert (own["addr"], own["st"]) == (str(ADDRESS), "alive")


async def test_a_person_at_the_terminal_reads_what_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    role = SessionConfig(HostPort("127.0.0.1", 0), None, None)
    harness = SessionHarness(tmp_path, role=role, log_format=LogFormat.TEXT)
    async with harness.running():
        said = capsys.readouterr().out
    assert "** Mesh 'blue' has been bootstrapped." in said
    assert f"This node's mesh IP:            {ADDRESS}" in said
    assert "NOT ENCRYPTED" in said
    assert "DEVELOPMENT MODE" in said
    assert "wgmesh join -v -dev -n blue -bootstrap-addr 127.0.0.1:0" in said


async def test_an_address_that_goes_has_wireguard_go_choose_its_source_anew(tmp_path: Path) -> None:
    harness = SessionHarness(tmp_path)
    harness.backend.kind = BackendKind.USERSPACE
    async with harness.running(BETA):
        await until(lambda: BETA.addresses[0] in harness.machine.triggered)
        harness.backend.changes.clear()
        harness.machine.host_news.put_nowait(HostChange(addresses=True, lost_address=True))
        await until(lambda: harness.backend.changes)
        (written,) = harness.backend.changes
        assert isinstance(written, SetPeer)
        assert (written.public_key, written.endpoint) == (BETA.public_key, BETA.endpoints[0])
