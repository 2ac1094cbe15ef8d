"""What every back end must do about the interface itself: touch only what differs, and only what is its own.

Run like `backend_suite`.
"""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from tests.netns.backend_harness import Agent, Host
from tests.netns.backend_members import NAME, desired, member, node

from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError
from wgmesh_agent.wireguard.model import ROUTE_PROTOCOL, InterfaceSpec


async def test_opening_again_changes_only_what_differs(pair: tuple[Host, Host], kind: BackendKind) -> None:
    left, _ = pair
    one, two = node(1, (4, 6)), node(2)
    async with Agent(left) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2"))
        before = left.index(NAME)
        left.run("ip", "route", "add", "10.77.0.0/24", "dev", NAME, "proto", "static")
        with left.monitor() as told:
            assert (await agent.open(one.spec())).adopted
        assert told() == ""
        with left.monitor() as told:
            await agent.open(
                InterfaceSpec(NAME, (ip_interface("10.232.1.9/16"),), (ip_network("10.233.0.0/16"),), 1380)
            )
        assert "mtu 1380" in told()
        addresses = left.run("ip", "-o", "address", "show", "dev", NAME, "scope", "global")
        assert "10.232.1.9/32" in addresses
        assert "10.232.1.1/" not in addresses
        assert "fd32::1" not in addresses
        routes = left.run("ip", "route", "show", "dev", NAME) + left.run(
            "ip", "-6", "route", "show", "dev", NAME
        )
        assert f"10.233.0.0/16 proto {ROUTE_PROTOCOL}" in routes
        assert "10.232.0.0/16" not in routes
        assert "fd32::/64" not in routes
        assert "10.77.0.0/24 proto static" in routes
        assert before == left.index(NAME)
        assert set((await agent.read()).peers) == {two.public}
        await agent.close()


async def test_working_for_long_leaves_no_descriptors_behind(host: Host, kind: BackendKind) -> None:
    one, two = node(1), node(2)
    async with Agent(host) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2"))
        before = None
        for _ in range(20):
            await agent.open(one.spec())
            await agent.converge(desired(one, two.as_peer("10.9.1.2")))
            # From the first round on: a connection to wireguard-go is kept.
            before = before or await agent.descriptors()
        assert await agent.descriptors() == before
        await agent.close()


async def test_a_foreign_interface_is_left_alone(host: Host, kind: BackendKind) -> None:
    host.run("ip", "link", "add", NAME, "type", "bridge")
    before = host.run("ip", "-d", "link", "show", NAME)
    async with Agent(host) as agent:
        await agent.choose(kind.value, NAME)
        with pytest.raises(ForeignInterfaceError, match=f"{NAME} exists and is of kind bridge"):
            await agent.open(node(1).spec())
        await agent.destroy()
        assert host.run("ip", "-d", "link", "show", NAME) == before
        await agent.close()


async def test_a_route_of_others_is_left_alone(pair: tuple[Host, Host], kind: BackendKind) -> None:
    left, _ = pair
    left.run("ip", "route", "add", "10.232.0.0/16", "via", "10.9.1.2")
    async with Agent(left) as agent:
        await agent.choose(kind.value, NAME)
        with pytest.raises(KernelError, match=r"a route to 10\.232\.0\.0/16 already exists"):
            await agent.open(node(1).spec())
        await agent.destroy()
        await agent.close()
    assert "10.232.0.0/16 via 10.9.1.2" in left.run("ip", "route")


async def test_destroying_removes_only_our_own(pair: tuple[Host, Host], kind: BackendKind) -> None:
    left, _ = pair
    one, two = node(1), node(2)
    # What others have: an interface, a route with our protocol number on it (another mesh's), and firewall rules.
    left.run("ip", "link", "add", "foreign0", "type", "bridge")
    left.run("ip", "link", "set", "foreign0", "up")
    left.run("ip", "route", "add", "10.66.0.0/24", "via", "10.9.1.2")
    left.run("ip", "route", "add", "10.67.0.0/24", "dev", "eth0", "proto", str(ROUTE_PROTOCOL))
    left.run("nft", "add", "table", "inet", "foreign")

    def everything() -> str:
        commands = (
            ("ip", "-o", "link"),
            ("ip", "-o", "-4", "address"),
            ("ip", "route"),
            ("nft", "list", "ruleset"),
        )
        return "".join(left.run(*command) for command in commands)

    before = everything()
    async with Agent(left) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2"))
        assert NAME in everything()
        await agent.destroy()
        assert everything() == before
        assert left.run("ls", "/var/run/wireguard") == ""
        # Nothing of it is left, so a repetition does nothing, and it can be re-created.
        await agent.destroy()
        assert not (await agent.open(one.spec())).adopted
        await agent.destroy()
        await agent.close()
    assert left.processes() == []


async def test_an_interface_made_but_not_marked_by_a_killed_agent_is_adopted(
    host: Host, kind: BackendKind
) -> None:
    one = node(1)
    async with Agent(host) as agent:
        await agent.choose(kind.value, NAME)
        await agent.open(one.spec())
        host.run("ip", "link", "set", NAME, "alias", "")
        assert (await agent.open(one.spec())).adopted
        assert "alias wgmesh" in host.run("ip", "link", "show", NAME)
        await agent.close()


async def test_a_configured_interface_without_our_mark_is_left_alone(host: Host, kind: BackendKind) -> None:
    one = node(1)
    async with Agent(host) as agent:
        await member(agent, kind, one)
        host.run("ip", "link", "set", NAME, "alias", "")
        with pytest.raises(ForeignInterfaceError, match="was not created by wgmesh"):
            await agent.open(one.spec())
        await agent.destroy()
        assert NAME in host.run("ip", "link")
        await agent.close()


async def test_local_addresses_are_listed_with_their_networks(
    pair: tuple[Host, Host], kind: BackendKind
) -> None:
    left, _ = pair
    left.run("ip", "address", "add", "10.9.1.31/24", "dev", "eth0")
    async with Agent(left) as agent:
        found = await agent.local_addresses("eth0")
        assert [str(one) for one in found[:3]] == ["10.9.1.1/24", "10.9.1.31/24", "fd09:1::1/64"]
        with pytest.raises(KernelError, match="no interface 'eth9'"):
            await agent.local_addresses("eth9")
        with pytest.raises(KernelError, match=r"no route to 198\.51\.100\.1"):
            await agent.route_to(ip_address("198.51.100.1"))
        left.run("ip", "route", "add", "198.51.100.0/24", "via", "10.9.1.2", "mtu", "1300")
        route = await agent.route_to(ip_address("198.51.100.1"))
        assert (str(route.source), route.mtu) == ("10.9.1.1", 1300)
