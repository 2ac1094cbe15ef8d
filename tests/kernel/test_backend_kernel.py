"""The back ends' common promises on kernel WireGuard, and what only the kernel does."""

import pytest

SHARED = ("backend_ground", "backend_members", "backend_suite", "backend_ownership_suite")
pytest.register_assert_rewrite(*(f"tests.netns.{name}" for name in SHARED))

from tests.netns.backend_harness import Agent, Host  # noqa: E402
from tests.netns.backend_members import NAME, desired, member, node  # noqa: E402
from tests.netns.backend_ownership_suite import *  # noqa: E402, F403
from tests.netns.backend_suite import *  # noqa: E402, F403

from wgmesh_agent.wireguard.backend import BackendKind  # noqa: E402
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, InterfaceGoneError, KernelError  # noqa: E402

pytestmark = pytest.mark.kernel


@pytest.fixture
def kind() -> BackendKind:
    return BackendKind.KERNEL


async def test_auto_picks_the_kernel_and_says_why(host: Host) -> None:
    async with Agent(host) as agent:
        choice = await agent.choose("auto", NAME)
        assert choice.kind is BackendKind.KERNEL
        assert "the kernel has it" in choice.reason


async def test_a_bare_interface_made_by_hand_is_adopted_and_a_configured_one_is_not(host: Host) -> None:
    one = node(1)
    host.run("ip", "link", "add", NAME, "type", "wireguard")
    async with Agent(host) as agent:
        await agent.choose("kernel", NAME)
        assert (await agent.open(one.spec())).adopted
        await agent.destroy()
        host.run("ip", "link", "add", NAME, "type", "wireguard")
        host.run("sh", "-c", f"wg genkey | wg set {NAME} private-key /dev/stdin")
        with pytest.raises(ForeignInterfaceError, match="was not created by wgmesh"):
            await agent.open(one.spec())
        await agent.close()


async def test_an_interface_removed_by_hand_is_told_and_opened_anew(host: Host) -> None:
    one, two = node(1), node(2)
    async with Agent(host) as agent:
        await member(agent, BackendKind.KERNEL, one, two.as_peer("10.9.1.2"))
        host.run("ip", "link", "del", NAME)
        with pytest.raises(InterfaceGoneError, match=f"{NAME}: the interface does not exist"):
            await agent.read()
        with pytest.raises(InterfaceGoneError, match=f"{NAME}: the interface does not exist"):
            await agent.converge(desired(one))
        assert not (await agent.open(one.spec())).adopted
        changes, _ = await agent.converge(desired(one, two.as_peer("10.9.1.2")))
        assert len(changes) == 2
        await agent.close()


async def test_a_port_in_use_is_an_error_that_says_so(host: Host) -> None:
    one = node(1)
    host.run("ip", "link", "add", "other0", "type", "wireguard")
    host.run("wg", "set", "other0", "listen-port", "51820")
    host.run("ip", "link", "set", "other0", "up")
    async with Agent(host) as agent:
        await agent.choose("kernel", NAME)
        await agent.open(one.spec())
        with pytest.raises(KernelError, match=r"Address already in use.*another WireGuard port"):
            await agent.converge(desired(one))
        await agent.close()
