"""The back ends' common promises on wireguard-go, and what only a process can go through."""

import os
import signal
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.netns.backend_suite", "tests.netns.backend_ground")

from tests.netns.backend_ground import Agent, Host, until  # noqa: E402
from tests.netns.backend_suite import *  # noqa: E402, F403
from tests.netns.backend_suite import NAME, answers, desired, member, node  # noqa: E402

from wgmesh_agent.wireguard.backends.protocol import BackendKind  # noqa: E402
from wgmesh_agent.wireguard.errors import BackEndUnavailableError, ForeignInterfaceError  # noqa: E402

pytestmark = pytest.mark.netns


@pytest.fixture
def kind() -> BackendKind:
    return BackendKind.USERSPACE


def go_process(host: Host) -> int:
    (pid,) = (pid for pid in host.processes() if "wireguard-go" in Path(f"/proc/{pid}/cmdline").read_text())
    return pid


def zombies(host: Host) -> list[int]:
    return [pid for pid in host.processes() if "Z (zombie)" in Path(f"/proc/{pid}/status").read_text()]


async def test_a_process_that_dies_is_started_anew_and_its_caller_told(pair: tuple[Host, Host]) -> None:
    left, right = pair
    one, two = node(1), node(2)
    async with Agent(left) as here, Agent(right) as there:
        await member(here, BackendKind.USERSPACE, one, two.as_peer("10.9.1.2"))
        await member(there, BackendKind.USERSPACE, two, one.as_peer("10.9.1.1"))
        until(lambda: answers(left, "10.232.1.2"), "the tunnel")
        for deaths in (1, 2):
            dead = go_process(left)
            os.kill(dead, signal.SIGKILL)
            while await here.restart_count() < deaths:
                assert len(left.processes()) <= 3
            assert go_process(left) != dead
            assert "10.232.1.1/32" in left.run("ip", "-o", "address", "show", "dev", NAME)
            changes, _ = await here.converge(desired(one, two.as_peer("10.9.1.2")))
            assert len(changes) == 2
            until(lambda: answers(left, "10.232.1.2"), "the tunnel after the death")
        assert zombies(left) == []
        await here.close()
        await there.close()


async def test_an_adopted_process_is_watched_as_well(host: Host) -> None:
    one = node(1)
    async with Agent(host) as first:
        await member(first, BackendKind.USERSPACE, one)
        await first.close()
    async with Agent(host) as second:
        await second.choose("auto", NAME)
        assert (await second.open(one.spec())).adopted
        os.kill(go_process(host), signal.SIGKILL)
        while await second.restart_count() < 1:
            continue
        changes, _ = await second.converge(desired(one))
        assert len(changes) == 1
        await second.destroy()
        await second.close()


async def test_an_interface_removed_by_hand_comes_back(host: Host) -> None:
    one = node(1)
    async with Agent(host) as agent:
        await member(agent, BackendKind.USERSPACE, one)
        host.run("ip", "link", "del", NAME)
        while await agent.restart_count() < 1:
            continue
        assert NAME in host.run("ip", "link")
        await agent.close()


async def test_a_tun_of_others_is_left_alone(host: Host) -> None:
    host.run("ip", "tuntap", "add", NAME, "mode", "tun")
    async with Agent(host) as agent:
        await agent.choose("userspace", NAME)
        with pytest.raises(ForeignInterfaceError, match="no WireGuard answers"):
            await agent.open(node(1).spec())
        await agent.destroy()
        assert NAME in host.run("ip", "link")
        await agent.close()


async def test_auto_picks_the_process_here_and_says_why(host: Host) -> None:
    async with Agent(host) as agent:
        choice = await agent.choose("auto", NAME)
        assert choice.kind is BackendKind.USERSPACE
        assert "the kernel has no wireguard" in choice.reason
        with pytest.raises(BackEndUnavailableError, match="the kernel has no wireguard"):
            await agent.choose("kernel", NAME)
