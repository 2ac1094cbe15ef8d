"""The back ends' common promises on wireguard-go, and what only a process can go through."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest

SHARED = ("backend_ground", "backend_members", "backend_suite", "backend_ownership_suite")
pytest.register_assert_rewrite(*(f"tests.netns.{name}" for name in SHARED))

from tests.netns.backend_harness import Agent, Host, hosts, until  # noqa: E402
from tests.netns.backend_members import NAME, PORT, answers, desired, member, node  # noqa: E402
from tests.netns.backend_ownership_suite import *  # noqa: E402, F403
from tests.netns.backend_suite import *  # noqa: E402, F403

from wgmesh_agent.wireguard.backend import BackendKind  # noqa: E402
from wgmesh_agent.wireguard.errors import BackEndUnavailableError, ForeignInterfaceError, UapiError  # noqa: E402

pytestmark = pytest.mark.netns


@pytest.fixture
def kind() -> BackendKind:
    return BackendKind.USERSPACE


def go_process(host: Host) -> int:
    (pid,) = (pid for pid in host.processes() if "wireguard-go" in Path(f"/proc/{pid}/cmdline").read_text())
    return pid


def outputs(pid: int) -> list[str]:
    return [Path(f"/proc/{pid}/fd/{descriptor}").readlink().name for descriptor in (1, 2)]


def environment(pid: int) -> set[str]:
    settings = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return {one.partition("=")[0] for one in settings if one}


def zombies(host: Host) -> list[int]:
    return [pid for pid in host.processes() if "Z (zombie)" in Path(f"/proc/{pid}/status").read_text()]


async def test_a_process_that_dies_is_started_anew_and_its_caller_told(pair: tuple[Host, Host]) -> None:
    left, right = pair
    one, two = node(1), node(2)
    async with Agent(left) as here, Agent(right) as there:
        await member(there, BackendKind.USERSPACE, two, one.as_peer("10.9.1.1"))
        await member(here, BackendKind.USERSPACE, one, two.as_peer("10.9.1.2"))
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


async def test_a_process_owes_nothing_to_its_agent(host: Host) -> None:
    async with Agent(host) as agent:
        await member(agent, BackendKind.USERSPACE, node(1))
        pid = go_process(host)
        assert os.getpgid(pid) == pid
        assert outputs(pid) == [f"{NAME}.log"] * 2
        assert environment(pid) == {"PATH", "LOG_LEVEL"}
        await agent.close()


_AGENT_ON_A_TERMINAL = f"""
import asyncio
from wgmesh_agent.linux.backends.userspace import UserspaceBackend
from wgmesh_agent.wireguard.model import InterfaceSpec

async def main():
    await UserspaceBackend("{NAME}").open(InterfaceSpec("{NAME}", (), (), 1420))
    print("it stands", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["an interrupt", "a hang-up"])
def test_the_end_of_a_terminal_ends_the_agent_and_not_the_process(host: Host, end: str) -> None:
    command = host.inside(sys.executable, "-c", _AGENT_ON_A_TERMINAL)
    agent, terminal = pty.fork()
    if agent == 0:
        os.execvp(command[0], command)
    output = b""
    while b"it stands" not in output:
        output += os.read(terminal, 4096)
    pid = go_process(host)
    if end == "an interrupt":
        os.write(terminal, b"\x03")
    else:
        os.close(terminal)
    _, status = os.waitpid(agent, 0)
    assert status != 0
    if end == "an interrupt":
        os.close(terminal)
    assert go_process(host) == pid
    assert NAME in host.run("wg", "show", "interfaces")


async def test_a_process_that_cannot_be_started_anew_is_tried_again(host: Host) -> None:
    one = node(1)
    async with Agent(host) as agent:
        await member(agent, BackendKind.USERSPACE, one)
        host.run("sh", "-c", "mount --bind /bin/false $(command -v wireguard-go)")
        os.kill(go_process(host), signal.SIGKILL)
        while len(await agent.trouble()) < 2:
            continue
        assert "terminated at once" in (await agent.trouble())[0]
        with pytest.raises(UapiError, match="does not answer"):
            await agent.read()
        host.run("sh", "-c", "umount $(command -v wireguard-go)")
        while await agent.restart_count() < 1:
            continue
        changes, _ = await agent.converge(desired(one))
        assert len(changes) == 1
        await agent.close()


async def test_a_socket_of_another_network_namespace_is_left_alone(host: Host) -> None:
    one = node(1)
    async with Agent(host) as agent:
        await member(agent, BackendKind.USERSPACE, one)
        before = await agent.read()
        await agent.close()
    # The same directory of sockets, but another network.
    with hosts(1, inside=host) as (other,):
        async with Agent(other) as stranger:
            await stranger.choose("userspace", NAME)
            with pytest.raises(ForeignInterfaceError, match="not in this network namespace"):
                await stranger.open(one.spec())
            await stranger.destroy()
            await stranger.close()
    async with Agent(host) as agent:
        await agent.choose("userspace", NAME)
        assert await agent.read() == before
        await agent.destroy()
        await agent.close()


async def test_a_port_in_use_is_an_error_that_says_so(host: Host) -> None:
    one = node(1)
    with host.taken_port(PORT):
        async with Agent(host) as agent:
            await agent.choose("userspace", NAME)
            await agent.open(one.spec())
            with pytest.raises(UapiError, match="EADDRINUSE: choose another WireGuard port"):
                await agent.converge(desired(one))
            await agent.close()


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
