"""What every back end must do, whichever it is: run by tests/netns on wireguard-go, by tests/kernel on the kernel.

A module that imports these tests gives the fixture `kind`.
"""

import base64
import ipaddress
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from tests.netns.backend_harness import Agent, Host, Ping, hosts, until, wire
from tests.netns.backend_members import MESHES, NAME, PORT, answers, desired, member, node

from wgmesh_agent.wireguard import allowed_ips
from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.diff import RemovePeer, SetPeer
from wgmesh_agent.wireguard.keys import PresharedKey, PublicKey
from wgmesh_agent.wireguard.model import (
    DesiredPeer,
    Endpoint,
    Route,
)
from wgmesh_agent.wireguard.mtu import tunnel_mtu


@pytest.fixture
def pair() -> Iterator[tuple[Host, Host]]:
    with hosts(2) as (left, right):
        wire(left, right, 1)
        yield left, right


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(1) as (only,):
        yield only


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


async def test_ipv6_is_had_where_a_machine_has_it_switched_off(host: Host, kind: BackendKind) -> None:
    for interfaces in ("all", "default"):
        host.run("sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6")
    one = node(1, MESHES["dual-stack"])
    async with Agent(host) as agent:
        await member(agent, kind, one)
        found = host.run("ip", "-o", "address", "show", "dev", NAME)
        assert all(f" {address}" in found for address in one.mesh_addresses), found
        assert host.run("cat", "/proc/sys/net/ipv6/conf/default/disable_ipv6") == "1\n"
        await agent.destroy()


async def test_a_second_pass_finds_nothing_to_change(pair: tuple[Host, Host], kind: BackendKind) -> None:
    one, two = node(1), node(2)
    async with Agent(pair[0]) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2", "10.232.7.0/24", "fd32:7::/48"))
        changes, _ = await agent.converge(
            desired(one, two.as_peer("10.9.1.2", "10.232.7.0/24", "fd32:7::/48"))
        )
        assert changes == ()
        await agent.close()


@pytest.mark.parametrize("mesh", list(MESHES))
async def test_routes_of_narrow_paths_come_change_and_go_and_leave_others_alone(
    pair: tuple[Host, Host], kind: BackendKind, mesh: str
) -> None:
    host, one, two = pair[0], node(1, MESHES[mesh]), node(2, MESHES[mesh])
    destinations = [ip_network(address) for address in two.mesh_addresses]

    def shown() -> set[tuple[str, int, int | None]]:
        found = json.loads(host.run("ip", "-j", "route", "show", "dev", NAME) or "[]")
        found += json.loads(host.run("ip", "-j", "-6", "route", "show", "dev", NAME) or "[]")
        metrics = ((route["dst"], route.get("metrics", [{}])[0]) for route in found)
        return {(dst, one["mtu"], one.get("advmss")) for dst, one in metrics if "mtu" in one}

    async with Agent(host) as agent:
        await member(agent, kind, one, two.as_peer("10.9.1.2"))
        for mtu in (1300, 1280):
            spec = replace(
                one.spec(), peer_routes=tuple(Route(destination, mtu, 1200) for destination in destinations)
            )
            await agent.open(spec)
            assert shown() == {(str(address), mtu, 1200) for address in two.mesh_addresses}
            with host.monitor() as told:
                await agent.open(spec)
            assert not [line for line in told().splitlines() if NAME in line]
        host.run("ip", "route", "add", "10.77.0.0/24", "dev", NAME, "mtu", "1000")
        await agent.open(one.spec())
        assert shown() == {("10.77.0.0/24", 1000, None)}
        await agent.destroy()


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
        told = replace(
            two.as_peer("10.9.1.2"),
            endpoints=tuple(Endpoint(ip_address(address), PORT) for address in ("10.9.1.2", "10.9.1.77")),
        )
        await member(there, kind, two, one.as_peer("10.9.1.1"))
        await member(here, kind, one, told)
        until(lambda: answers(right, "10.232.1.1"), "the tunnel")
        # The peer moves, and its packet shows from where it sends now.
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


async def test_a_pre_shared_key_is_given_to_a_living_peer_and_no_new_handshake_comes_about_without(
    pair: tuple[Host, Host], kind: BackendKind
) -> None:
    left, right = pair
    one, two, key = node(1), node(2), PresharedKey(os.urandom(32))
    keyed = desired(one, replace(two.as_peer("10.9.1.2"), preshared_key=key))
    theirs = desired(two, replace(one.as_peer("10.9.1.1"), preshared_key=key))
    async with Agent(left) as here, Agent(right) as there:
        await member(there, kind, two, one.as_peer("10.9.1.1"))
        await member(here, kind, one, two.as_peer("10.9.1.2"))
        until(lambda: answers(left, "10.232.1.2"), "the tunnel")
        ping = Ping(left, "10.232.1.2")
        ping.until_reply()
        changes, _ = await here.converge(keyed)
        assert changes == (SetPeer(two.public, preshared_key=key),)
        await there.converge(theirs)
        assert left.run("wg", "show", NAME, "preshared-keys").split() == [
            str(two.public),
            base64.b64encode(key.raw).decode(),
        ]
        changes, _ = await here.converge(keyed)
        assert changes == ()
        ping.until_reply()
        assert ping.lost() == set()
        await there.converge(desired(two))
        await there.converge(desired(two, one.as_peer("10.9.1.1")))
        assert not answers(right, "10.232.1.1")
        assert not (await there.read()).peers[one.public].last_handshake
        await there.converge(theirs)
        until(lambda: answers(right, "10.232.1.1"), "the tunnel, with the key on both ends")
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
    held = allowed_ips.AllowedIPIndex[str]()
    held.add(ip_network("10.232.1.1/32"), "this node")
    overlaps = {
        peer.public_key: [
            found for ip in peer.allowed_ips if ip.version == 4 and (found := held.overlapping(ip))
        ]
        for peer in (honest, greedy)
    }
    async with Agent(host) as agent:
        await member(agent, kind, one, *(peer for peer in (honest, greedy) if not overlaps[peer.public_key]))
        assert set((await agent.read()).peers) == {two.public}
        assert overlaps == {two.public: [], three.public: [(ip_network("10.232.1.1/32"), "this node")]}
        await agent.close()


async def test_a_thousand_peers_are_programmed_read_back_and_diffed_to_nothing(
    host: Host, kind: BackendKind
) -> None:
    one = node(1)
    base4, base6 = int(ip_address("10.232.4.0")), int(ip_address("fd32:4::"))
    peers = tuple(
        DesiredPeer(
            PublicKey(os.urandom(32)),
            frozenset(
                {
                    ip_network(ipaddress.IPv4Address(base4 + number)),
                    ip_network(ipaddress.IPv6Address(base6 + number)),
                }
            ),
            (Endpoint(ip_address("192.0.2.1") + number % 200, 1024 + number),),
            25,
        )
        for number in range(1000)
    )
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
        # wireguard-go does not report the zone, although it uses it.
        unzoned = Endpoint(ip_address("fe80::2"), PORT)
        assert endpoint == (told.endpoints[0] if kind is BackendKind.KERNEL else unzoned)
        changes, _ = await here.converge(desired(one, told))
        assert changes == ()
        await here.close()
        await there.close()
