"""What every back end must do, whichever it is: run by tests/netns on wireguard-go, by tests/kernel on the kernel.

A module that imports these tests gives the fixture `kind`.
"""

import ipaddress
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from tests.netns.backend_ground import Agent, Host, Ping, hosts, until, wire

from wgmesh_agent.wireguard import overlap
from wgmesh_agent.wireguard.backends.protocol import BackendKind
from wgmesh_agent.wireguard.diff import RemovePeer, SetPeer
from wgmesh_agent.wireguard.errors import ForeignInterfaceError, KernelError
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import (
    ROUTE_PROTOCOL,
    DesiredDevice,
    DesiredPeer,
    Endpoint,
    InterfaceSpec,
    Network,
)
from wgmesh_agent.wireguard.mtu import tunnel_mtu

NAME = "wgtest"
PORT = 51820
LINK_KIND = {BackendKind.KERNEL: "wireguard", BackendKind.USERSPACE: "tun"}
MESHES = {"IPv4": (4,), "IPv6": (6,), "dual-stack": (4, 6)}


@dataclass(frozen=True)
class Node:
    """A member of the test's mesh: number 1 or 2, as its host on the cable."""

    number: int
    key: PrivateKey
    versions: tuple[int, ...] = (4,)

    @property
    def public(self) -> PublicKey:
        return self.key.public()

    @property
    def mesh_addresses(self) -> list[str]:
        return [{4: f"10.232.1.{self.number}", 6: f"fd32::{self.number}"}[one] for one in self.versions]

    def spec(self, mtu: int = 1420) -> InterfaceSpec:
        ranges = {4: "10.232.0.0/16", 6: "fd32::/64"}
        return InterfaceSpec(
            NAME,
            tuple(ip_interface(one) for one in self.mesh_addresses),
            tuple(ip_network(ranges[one]) for one in self.versions),
            mtu,
        )

    def as_peer(self, underlay: str, *more_ranges: str) -> DesiredPeer:
        ranges: frozenset[Network] = frozenset(
            ip_network(one) for one in (*self.mesh_addresses, *more_ranges)
        )
        # Number 1 begins, and is set up last: two initiations that cross annul each other, and both wait 5 s.
        keepalive = 25 if self.number == 2 else 0
        return DesiredPeer(self.public, ranges, (Endpoint(ip_address(underlay), PORT),), keepalive)


def node(number: int, versions: tuple[int, ...] = (4,)) -> Node:
    return Node(number, PrivateKey.generate(os.urandom), versions)


def desired(own: Node, *peers: DesiredPeer) -> DesiredDevice:
    return DesiredDevice(own.key, PORT, peers)


async def member(agent: Agent, kind: BackendKind, own: Node, *peers: DesiredPeer, mtu: int = 1420) -> None:
    """Has `agent` set up `own` with these peers."""
    await agent.choose(kind.value, NAME)
    await agent.open(own.spec(mtu))
    await agent.converge(desired(own, *peers))


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    with hosts(2) as (left, right):
        wire(left, right, 1)
        yield left, right


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(1) as (only,):
        yield only


def answers(host: Host, address: str, *options: str) -> bool:
    return " 0% packet loss" in host.run("ping", "-c", "1", "-W", "1", *options, address, check=False)


@pytest.mark.parametrize("underlay", [4, 6], ids=["over IPv4", "over IPv6"])
@pytest.mark.parametrize("mesh", list(MESHES))
async def test_two_nodes_reach_each_other(
    pair: tuple[Host, Host], kind: BackendKind, mesh: str, underlay: int
) -> None:
    left, right = pair
    one, two = node(1, MESHES[mesh]), node(2, MESHES[mesh])
    ends = {4: ("10.9.1.1", "10.9.1.2"), 6: ("fd09:1::1", "fd09:1::2")}[underlay]
    async with Agent(left) as here, Agent(right) as there:
        route = await here.route_to(ip_address(ends[1]))
        assert route.source == ip_address(ends[0])
        mtu = tunnel_mtu([(route.mtu, underlay)], mesh_version=max(one.versions))
        assert mtu == {4: 1440, 6: 1420}[underlay]
        await member(there, kind, two, one.as_peer(ends[0]), mtu=mtu)
        await member(here, kind, one, two.as_peer(ends[1]), mtu=mtu)
        for address in two.mesh_addresses:
            until(lambda address=address: answers(left, address), f"an answer from {address}")  # type: ignore[misc]
            inner = mtu - (28 if "." in address else 48)
            # The largest packet goes through in one piece, and so does the underlay's own largest with it inside.
            assert answers(left, address, "-M", "do", "-s", str(inner))
            assert not answers(left, address, "-M", "do", "-s", str(inner + 1))
        device = await here.read()
        peer = device.peers[two.public]
        assert peer.endpoint == Endpoint(ip_address(ends[1]), PORT)
        assert peer.last_handshake == pytest.approx(time.time(), abs=60)
        assert peer.rx_bytes > 0
        assert peer.tx_bytes > 0
        assert peer.allowed_ips == {ip_network(one) for one in two.mesh_addresses}
        assert (device.public_key, device.listen_port) == (one.public, PORT)
        await here.close()
        await there.close()


async def test_a_second_pass_finds_nothing_to_change(pair: tuple[Host, Host], kind: BackendKind) -> None:
    one, two = node(1), node(2)
    async with Agent(pair[0]) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2", "10.232.7.0/24", "fd32:7::/48"))
        changes, _ = await agent.converge(
            desired(one, two.as_peer("10.9.1.2", "10.232.7.0/24", "fd32:7::/48"))
        )
        assert changes == ()
        await agent.close()


async def test_a_killed_agent_loses_no_packet_and_its_successor_adopts(
    pair: tuple[Host, Host], kind: BackendKind
) -> None:
    left, right = pair
    one, two = node(1), node(2)
    async with Agent(right) as there:
        await member(there, kind, two, one.as_peer("10.9.1.1"))
        first = Agent(left)
        async with first:
            await member(first, kind, one, two.as_peer("10.9.1.2"))
            until(lambda: answers(left, "10.232.1.2"), "the tunnel")
            index = left.index(NAME)
            ping = Ping(left, "10.232.1.2")
            ping.until_reply()
            await first.kill()
        ping.until_reply()
        async with Agent(left) as second:
            choice = await second.choose("auto", NAME)
            assert choice.kind is kind
            opened = await second.open(one.spec())
            assert opened.adopted
            changes, _ = await second.converge(desired(one, two.as_peer("10.9.1.2")))
            assert changes == ()
            assert left.index(NAME) == index
            await second.close()
        assert ping.lost() == set()
        await there.close()


async def test_a_learned_endpoint_is_kept(pair: tuple[Host, Host], kind: BackendKind) -> None:
    left, right = pair
    one, two = node(1), node(2)
    async with Agent(left) as here, Agent(right) as there:
        told = replace(two.as_peer("10.9.1.2"), endpoints=tuple(
            Endpoint(ip_address(address), PORT) for address in ("10.9.1.2", "10.9.1.77")
        ))  # fmt: skip
        await member(there, kind, two, one.as_peer("10.9.1.1"))
        await member(here, kind, one, told)
        until(lambda: answers(right, "10.232.1.1"), "the tunnel")
        # The peer moves, and tells by a packet from where it is now.
        await there.converge(replace(desired(two, one.as_peer("10.9.1.1")), listen_port=PORT + 1))
        until(lambda: answers(right, "10.232.1.1"), "the tunnel after the move")
        changes, _ = await here.converge(desired(one, told))
        assert changes == ()
        device = await here.read()
        assert device.peers[two.public].endpoint == Endpoint(ip_address("10.9.1.2"), PORT + 1)
        await here.close()
        await there.close()


async def test_a_candidate_that_never_answers_gives_way_to_the_next(
    pair: tuple[Host, Host], kind: BackendKind
) -> None:
    left, right = pair
    one, two = node(1), node(2)
    wrong, good = (Endpoint(ip_address(address), PORT) for address in ("10.9.1.66", "10.9.1.2"))
    told = replace(two.as_peer("10.9.1.2"), endpoints=(wrong, good))
    async with Agent(right) as there:
        # This end knows no endpoint of the other: only the first end can begin.
        await member(there, kind, two, replace(one.as_peer("10.9.1.1"), endpoints=()))
        async with Agent(left) as here:
            await member(here, kind, one, told)
            assert (await here.read()).peers[two.public].endpoint == wrong
            # Just written: it is given time, so nothing changes at once.
            changes, _ = await here.converge(desired(one, told))
            assert changes == ()
        # A new agent does not know since when it stood there, and need not wait.
        async with Agent(left) as here:
            await here.choose(kind.value, NAME)
            await here.open(one.spec())
            changes, _ = await here.converge(desired(one, told))
            assert changes == (SetPeer(two.public, good),)
            until(lambda: answers(left, "10.232.1.2"), "the tunnel")
            await here.close()
        await there.close()


async def test_a_range_taken_from_a_living_peer_disturbs_no_other(
    pair: tuple[Host, Host], kind: BackendKind
) -> None:
    left, right = pair
    one, two = node(1), node(2)
    async with Agent(left) as here, Agent(right) as there:
        await member(there, kind, two, one.as_peer("10.9.1.1"))
        await member(here, kind, one, two.as_peer("10.9.1.2", "10.232.8.0/24", "fd32:8::/64"))
        until(lambda: answers(left, "10.232.1.2"), "the tunnel")
        ping = Ping(left, "10.232.1.2")
        ping.until_reply()
        changes, _ = await here.converge(desired(one, two.as_peer("10.9.1.2")))
        assert changes == (
            SetPeer(
                two.public,
                remove_allowed_ips=frozenset({ip_network("10.232.8.0/24"), ip_network("fd32:8::/64")}),
            ),
        )
        device = await here.read()
        assert {key: peer.allowed_ips for key, peer in device.peers.items()} == {
            two.public: {ip_network("10.232.1.2/32")}
        }
        assert ping.lost() == set()
        await here.close()
        await there.close()


async def test_a_range_moves_between_peers_and_a_peer_goes(host: Host, kind: BackendKind) -> None:
    one, two, three = node(1), node(2), node(3)
    async with Agent(host) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2", "10.232.9.0/24"), three.as_peer("10.9.1.3"))
        moved = desired(one, two.as_peer("10.9.1.2"), three.as_peer("10.9.1.3", "10.232.9.0/24"))
        changes, _ = await agent.converge(moved)
        assert changes == (SetPeer(three.public, add_allowed_ips=frozenset({ip_network("10.232.9.0/24")})),)
        device = await agent.read()
        assert device.peers[two.public].allowed_ips == {ip_network("10.232.1.2/32")}
        assert ip_network("10.232.9.0/24") in device.peers[three.public].allowed_ips
        changes, _ = await agent.converge(desired(one, two.as_peer("10.9.1.2")))
        assert changes == (RemovePeer(three.public),)
        assert set((await agent.read()).peers) == {two.public}
        await agent.close()


async def test_a_peer_that_claims_anothers_range_is_not_programmed(host: Host, kind: BackendKind) -> None:
    one, two, three = node(1), node(2), node(3)
    honest, greedy = two.as_peer("10.9.1.2"), three.as_peer("10.9.1.3", "10.232.1.0/30")
    checked = overlap.check([honest, greedy], own=[ip_network("10.232.1.1/32")])
    async with Agent(host) as agent:
        await member(agent, kind, one, *checked.accepted)
        assert set((await agent.read()).peers) == {two.public}
        assert {(one.peer, one.holder) for one in checked.refusals} == {(three.public, None)}
        await agent.close()


async def test_a_thousand_peers_are_programmed_read_back_and_diffed_to_nothing(
    host: Host, kind: BackendKind
) -> None:
    one = node(1)
    base4, base6 = int(ip_address("10.232.4.0")), int(ip_address("fd32:4::"))
    peers = tuple(
        DesiredPeer(
            PublicKey(os.urandom(32)),
            frozenset({
                ip_network(ipaddress.IPv4Address(base4 + number)),
                ip_network(ipaddress.IPv6Address(base6 + number)),
            }),
            (Endpoint(ip_address("192.0.2.1") + number % 200, 1024 + number),),
            25,
        )
        for number in range(1000)
    )  # fmt: skip
    async with Agent(host) as agent:
        await agent.choose(kind.value, NAME)
        await agent.open(one.spec())
        await agent.pause()
        changes, _ = await agent.converge(desired(one, *peers))
        assert len(changes) == 1001
        device = await agent.read()
        assert {
            key: (peer.endpoint, peer.allowed_ips, peer.keepalive_seconds)
            for key, peer in device.peers.items()
        } == {peer.public_key: (peer.endpoints[0], peer.allowed_ips, 25) for peer in peers}
        changes, _ = await agent.converge(desired(one, *peers))
        assert changes == ()
        changes, _ = await agent.converge(desired(one, *peers[:10]))
        assert len(changes) == 990
        assert set((await agent.read()).peers) == {peer.public_key for peer in peers[:10]}
        await agent.close()


async def test_many_ranges_of_one_peer_and_their_removal_span_messages(host: Host, kind: BackendKind) -> None:
    one, two, three = node(1), node(2), node(3)
    many = [f"10.{232 + number // 256}.{number % 256}.0/28" for number in range(700)]
    async with Agent(host) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2", *many[:600]), three.as_peer("10.9.1.3"))
        device = await agent.read()
        assert device.peers[two.public].allowed_ips == two.as_peer("10.9.1.2", *many[:600]).allowed_ips
        await agent.converge(desired(one, two.as_peer("10.9.1.2"), three.as_peer("10.9.1.3", *many[300:])))
        device = await agent.read()
        assert device.peers[two.public].allowed_ips == {ip_network("10.232.1.2/32")}
        assert device.peers[three.public].allowed_ips == three.as_peer("10.9.1.3", *many[300:]).allowed_ips
        assert set(device.peers) == {two.public, three.public}
        await agent.close()


async def test_an_endpoint_on_a_link_keeps_its_zone(pair: tuple[Host, Host], kind: BackendKind) -> None:
    left, right = pair
    one, two = node(1), node(2)
    index = left.index("eth0")
    right.run("ip", "address", "add", "fe80::2/64", "dev", "eth0", "nodad")
    left.run("ip", "address", "add", "fe80::1/64", "dev", "eth0", "nodad")
    told = replace(two.as_peer("10.9.1.2"), endpoints=(Endpoint(ip_address(f"fe80::2%{index}"), PORT),))
    async with Agent(left) as here, Agent(right) as there:
        await member(there, kind, two, replace(one.as_peer("10.9.1.1"), endpoints=()))
        await member(here, kind, one, told)
        until(lambda: answers(left, "10.232.1.2"), "the tunnel over the link's own addresses")
        endpoint = (await here.read()).peers[two.public].endpoint
        # wireguard-go does not tell the zone, though it uses it.
        unzoned = Endpoint(ip_address("fe80::2"), PORT)
        assert endpoint == (told.endpoints[0] if kind is BackendKind.KERNEL else unzoned)
        changes, _ = await here.converge(desired(one, told))
        assert changes == ()
        await here.close()
        await there.close()


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
        await agent.open(one.spec())
        before = await agent.descriptors()
        for _ in range(20):
            await agent.open(one.spec())
            await agent.converge(desired(one, two.as_peer("10.9.1.2")))
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
        with pytest.raises(KernelError, match=r"a route to 10\.232\.0\.0/16 exists already"):
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
        # Nothing of it left, so once more does nothing, and it can be made anew.
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
        with pytest.raises(ForeignInterfaceError, match="was not made by wgmesh"):
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
