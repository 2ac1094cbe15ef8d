"""Traffic through a mesh: its appearance on the wire, and that it continues whatever happens to operator and agents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import Object, apply, kubectl, table, wait_for
from tests.kind.meshes import SECOND_PORTS, WIREGUARD_PORT, Mesh, mesh, mesh_body
from tests.kind.nodes import Node, wait_until_ready
from tests.kind.outages import (
    agent_is_ready,
    cutting,
    kill_agent,
    kubelet_is_up,
    no_api_server,
    scale_operator,
)
from tests.kind.packet_capture import TCP, Seen, captured, read
from tests.kind.pinging import ANSWER_SECONDS, PINGS_A_SECOND, none_lost, pinging
from tests.kind.pod_lifetimes import agent_again, container, identities, lives, log_lines, renew_certificates
from tests.kind.processes import AGENT, OPERATOR, TUNNEL, WIREGUARD, Process, process
from tests.kind.release import NAMESPACE, Release

MESH = "blue"
MARK = bytes.fromhex("77676d6573682d6d61726b21c0ffee42")
PINGS, PING_BYTES = 10, 120
SEALED_BYTES = 160 + 32
"""Of a ping with IP and ICMP headers, filled up to a multiple of 16, with WireGuard's header and tag."""
KUBERNETES_PORTS = frozenset({6443, 10250})
AGENT_SECONDS = 60
API_DOWN_SECONDS = 120
OPERATOR_LEFT_ALONE_SECONDS = 30
NET_ADMIN_AND_NET_RAW = 1 << 12 | 1 << 13


@dataclass(frozen=True, slots=True)
class Ground:
    """A mesh on all nodes, and how long after `kubectl apply` it was one."""

    mesh: Mesh
    nodes: list[Node]
    seconds: float

    def pairs(self, *without: Node) -> list[tuple[Node, str]]:
        """From each node to each other's mesh address."""
        return self.mesh.pairs(node for node in self.nodes if node not in without)


@pytest.fixture(scope="module")
def ground(release: Release, nodes: list[Node]) -> Iterator[Ground]:
    with mesh(MESH) as made:
        began = time.monotonic()
        made.wait()
        yield Ground(made, nodes, time.monotonic() - began)
    # One test upgrades.
    release.install()


def test_a_mesh_is_whole_a_minute_after_it_was_asked_for(ground: Ground, measured: Measured) -> None:
    measured("kubectl apply until FullyMeshed", ground.seconds, at_most=60)


def test_kubectl_shows_the_mesh_in_a_row(ground: Ground) -> None:
    (row,) = table("wgmesh")
    assert row.pop("AGE")
    assert row == {"NAME": MESH, "NODES": "3/3", "LINKS": "6/6", "READY": "True", "CIDR": "10.232.0.0/16"}


def test_kubectl_shows_each_node_in_a_row(ground: Ground) -> None:
    rows = table("wgmeshnodes")
    assert {row["NAME"] for row in rows} == {f"{MESH}.{node.name}" for node in ground.nodes}
    addresses = ground.mesh.addresses()
    for node in ground.nodes:
        (row,) = (row for row in rows if row["NAME"] == f"{MESH}.{node.name}")
        assert (row["PEERS"], row["READY"]) == ("2/2", "True")
        assert row["ADDRESS"] == addresses[node.name][0]
        assert row["ENDPOINT"] == f"{node.underlay()}:{WIREGUARD_PORT}"
        assert row["BACKEND"] in ("kernel", "userspace")


@pytest.fixture(scope="module")
def seen(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What was to be seen while every node pinged every other's mesh address with a mark in it."""
    folder = tmp_path_factory.mktemp("seen")
    with ExitStack() as stack:
        wire, inside = (
            {
                node.name: stack.enter_context(captured(node, interface, folder / f"{node.name}-{interface}"))
                for node in ground.nodes
            }
            for interface in ("eth0", f"wg{MESH}")
        )
        # ping's own count takes an answer that is later than its last request by a tenth of a second for lost.
        options = ("-s", str(PING_BYTES), "-p", MARK.hex())
        with pinging(folder, *ground.pairs(), options=options) as pings:
            wait_for(
                lambda: all(len(ping.answered()) >= PINGS for ping in pings),
                ANSWER_SECONDS,
                "all pings are answered",
            )
        assert {ping.what: ping.lost() for ping in pings if ping.lost()} == {}
    return Seen(wire, inside, {node.name: node.underlay() for node in ground.nodes})


def test_pings_are_seen_in_clear_inside_the_mesh_and_never_on_the_wire(seen: Seen) -> None:
    for node, packets in seen.inside.items():
        # To and from two others, each answered: so what looks for the mark does find it.
        assert sum(MARK in raw for raw in packets) >= 4 * 2 * PINGS, node
    for node, packets in seen.wire.items():
        assert [raw.hex() for raw in packets if MARK in raw] == [], node


def test_the_wire_carries_pings_as_wireguard_from_each_node_to_each_other(
    seen: Seen, measured: Measured
) -> None:
    sealed = 0
    for one, other in permutations(seen.underlay, 2):
        for node in (one, other):
            there = [
                packet
                for packet in seen.between_nodes(node)
                if (str(packet.source), str(packet.destination)) == (seen.underlay[one], seen.underlay[other])
                and packet.is_data(WIREGUARD_PORT, SEALED_BYTES)
            ]
            # Requests of one and answers to the other.
            assert len(there) >= 2 * PINGS, f"{one} to {other} at {node}: {len(there)}"
            sealed += len(there)
    measured("sealed pings seen on the wires of 3 nodes", sealed, "packets")


def test_between_nodes_there_is_nothing_but_wireguard_and_kubernetes(
    seen: Seen, ground: Ground, measured: Measured
) -> None:
    control_plane = seen.underlay[ground.nodes[0].name]
    wireguard = 0
    others = []
    for node in seen.underlay:
        for packet in seen.between_nodes(node):
            ends = {str(packet.source), str(packet.destination)}
            if packet.is_wireguard(WIREGUARD_PORT):
                wireguard += 1
            elif not (control_plane in ends and packet.protocol == TCP and packet.ports & KUBERNETES_PORTS):
                others.append(str(packet))
    measured("WireGuard packets seen between nodes", wireguard, "packets")
    assert others == []


def test_no_address_of_the_mesh_is_seen_on_the_wire(seen: Seen, ground: Ground) -> None:
    inside = {address for addresses in ground.mesh.addresses().values() for address in addresses}
    for node, packets in seen.wire.items():
        found = [packet for raw in packets if (packet := read(raw)) is not None]
        assert [
            str(packet) for packet in found if {str(packet.source), str(packet.destination)} & inside
        ] == [], node


def test_a_killed_agent_costs_no_ping_and_comes_back_as_the_same_member(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    made, node = ground.mesh, ground.nodes[1]
    before, agents, tunnels = identities(made), lives(made, "agent"), lives(made, "tunnel")
    with none_lost(tmp_path, measured, "an agent is killed and comes back", ground.pairs()):
        began = time.monotonic()
        is_back = kill_agent(node, made)
        wait_for(is_back, AGENT_SECONDS, f"the agent of {node.name} is back")
        measured("agent killed until it is back and has joined", time.monotonic() - began)
        agent_again(made, node, agents, AGENT_SECONDS)
    made.wait()
    assert_only_agent_restarted(made, node, agents)
    assert identities(made) == before
    assert lives(made, "tunnel") == tunnels


def assert_only_agent_restarted(made: Mesh, node: Node, since: dict[str, tuple[str, int]]) -> None:
    pod, restarts = since[node.name]
    assert lives(made, "agent") == since | {node.name: (pod, restarts + 1)}


def test_an_upgrade_replaces_every_agent_and_costs_no_ping(
    ground: Ground, release: Release, images: tuple[str, str], measured: Measured, tmp_path: Path
) -> None:
    made, (image, following) = ground.mesh, images
    assert following != image, "E2E_NEXT_IMAGE must be another name than E2E_IMAGE"
    before, agents, tunnels = identities(made), lives(made, "agent"), lives(made, "tunnel")

    def upgraded() -> bool:
        pods = made.pods("agent").values()
        return len(pods) == len(ground.nodes) and all(
            pod["spec"]["containers"][0]["image"] == following and container(pod).get("ready") for pod in pods
        )

    with none_lost(tmp_path, measured, "helm upgrade replaces all agents", ground.pairs()):
        began = time.monotonic()
        release.install(image=following)
        wait_for(
            upgraded,
            AGENT_SECONDS * len(ground.nodes),
            "all agents run the next image",
            lambda: lives(made, "agent"),
        )
        measured("helm upgrade until all agents are replaced and ready", time.monotonic() - began)
        made.wait()
    after = lives(made, "agent")
    assert {pod for pod, _ in after.values()}.isdisjoint(pod for pod, _ in agents.values())
    assert [restarts for _, restarts in after.values()] == [0, 0, 0]
    assert lives(made, "tunnel") == tunnels
    assert identities(made) == before


def test_a_cut_link_is_told_by_name_and_heals_by_itself(ground: Ground, measured: Measured) -> None:
    made, (one, other) = ground.mesh, ground.nodes[1:]
    with cutting(one) as cut:
        began = time.monotonic()
        cut("to", other)
        wait_for(lambda: made.status().get("links") == "5/6", AGENT_SECONDS, "5/6 links", made.status)
        measured("one direction of a link cut until LINKS is 5/6", time.monotonic() - began)
        assert_named(made, f"{other.name} -> {one.name}")

        began = time.monotonic()
        cut("from", other)
        wait_for(lambda: made.status().get("links") == "4/6", AGENT_SECONDS, "4/6 links", made.status)
        measured("both directions of a link cut until LINKS is 4/6", time.monotonic() - began)
        assert_named(made, f"{other.name} -> {one.name}", f"{one.name} -> {other.name}")
        # All are still members: others forward gossip between the two.
        assert made.condition("Ready")["status"] == "True"
        began = time.monotonic()
    made.wait(seconds=AGENT_SECONDS)
    measured("a cut link let go until FullyMeshed", time.monotonic() - began)
    assert made.status()["links"] == "6/6"
    assert made.status().get("downLinks", []) == []


def assert_named(made: Mesh, *links: str) -> None:
    """Status and condition name these links, and no other."""
    status, judged = made.status(), made.condition("FullyMeshed")
    assert (judged["status"], judged["reason"]) == ("False", "LinksDown")
    assert {line.partition(": ")[0] for line in status["downLinks"]} == set(links)
    assert all(link in judged["message"] for link in links)


@pytest.fixture
def labelled(ground: Ground) -> Iterator[Callable[[], Object]]:
    """Labels two nodes, and gives the selector; undone afterwards."""
    chosen = [node.name for node in ground.nodes[:2]]

    def label() -> Object:
        kubectl("label", "nodes", *chosen, "e2e=chosen", "--overwrite")
        return {"e2e": "chosen"}

    yield label
    kubectl("label", "nodes", *chosen, "e2e-")


def test_without_an_operator_all_goes_on_and_it_catches_up_after(
    ground: Ground,
    release: Release,
    labelled: Callable[[], Object],
    measured: Measured,
    tmp_path: Path,
) -> None:
    made, node = ground.mesh, ground.nodes[2]
    before = identities(made)
    late = Mesh("late")
    try:
        with none_lost(tmp_path, measured, "there is no operator", ground.pairs()):
            scale_operator(0, release)
            apply(mesh_body(late.name, "10.233.0.0/16", nodeSelector=labelled(), **SECOND_PORTS))
            began = time.monotonic()
            is_back = kill_agent(node, made)
            wait_for(is_back, AGENT_SECONDS, f"the agent of {node.name} is back without an operator")
            measured("agent killed without an operator until it is back", time.monotonic() - began)
            assert late.status() == {}
            began = time.monotonic()
            scale_operator(1, release)
            late.wait()
            measured("operator back until what was asked meanwhile is done", time.monotonic() - began)
        assert late.status()["nodes"] == "2/2"
        (operator,) = release.operator_pods()
        done = kubectl("logs", "-n", NAMESPACE, operator["metadata"]["name"])
        assert f"apply DaemonSet wgmesh-{late.name}" in done
        # What was as it should be was left alone.
        assert f"apply DaemonSet wgmesh-{made.name}" not in done
        assert set(late.members()) == {node.name for node in ground.nodes[:2]}
    finally:
        scale_operator(1, release)
        late.delete()
    made.wait()
    assert identities(made) == before


def test_a_restarted_node_is_back_as_the_same_member_by_itself(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    made, node = ground.mesh, ground.nodes[2]
    before = identities(made)
    agents, tunnels = lives(made, "agent"), lives(made, "tunnel")
    with none_lost(tmp_path, measured, "another node is restarted", ground.pairs(node)):
        node.restart()
        wait_for(lambda: kubelet_is_up(node), AGENT_SECONDS, f"the kubelet of {node.name} is up")
        began = time.monotonic()
        back = tmp_path / "back"
        back.mkdir()
        to_and_from = [pair for pair in ground.pairs() if pair not in ground.pairs(node)]
        with pinging(back, *to_and_from):
            measured(
                "kubelet up until pings to and from its node are answered",
                time.monotonic() - began,
                at_most=30,
            )
            wait_for(lambda: agent_is_ready(node), AGENT_SECONDS, "its agent is a member again")
            measured("kubelet up until its node's agent has joined", time.monotonic() - began, at_most=30)
        wait_until_ready([node])
        agent_again(made, node, agents, AGENT_SECONDS)
        made.wait()
        measured("kubelet up until status says FullyMeshed", time.monotonic() - began)
    assert identities(made) == before
    for component, old in (("agent", agents), ("tunnel", tunnels)):
        assert {name: life for name, life in lives(made, component).items() if name != node.name} == {
            name: life for name, life in old.items() if name != node.name
        }


def test_without_privileges_a_mesh_is_whole_and_its_processes_have_two_capabilities(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    ports = {**SECOND_PORTS, "agent": {**SECOND_PORTS["agent"], "privileged": False}}
    with mesh("bare", "10.234.0.0/16", **ports) as bare:
        began = time.monotonic()
        bare.wait()
        measured("kubectl apply until FullyMeshed, with unprivileged pods", time.monotonic() - began)
        with none_lost(tmp_path, measured, "in a mesh with unprivileged pods", bare.pairs(ground.nodes)):
            assert bare.status()["links"] == "6/6"
        for node, member in bare.members().items():
            has_program = member["status"]["backend"] == "userspace"
            for command in (AGENT, TUNNEL, *((WIREGUARD,) if has_program else ())):
                assert_confined(process(Node(node), command, bare.name))
    assert ground.mesh.status()["links"] == "6/6"


def assert_confined(one: Process) -> None:
    """It has two capabilities, and can neither get more nor call everything."""
    assert one.capabilities() == dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), NET_ADMIN_AND_NET_RAW)
    status = one.status()
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_without_an_api_server_for_two_minutes_all_goes_on(
    ground: Ground, release: Release, measured: Measured, tmp_path: Path
) -> None:
    made, node = ground.mesh, ground.nodes[1]
    before, agents, tunnels = identities(made), lives(made, "agent"), lives(made, "tunnel")
    (operator,) = release.operator_pods()
    operators_node = Node(operator["spec"]["nodeName"])
    watcher = made.agents()[ground.nodes[2].name]
    lines = log_lines(watcher)
    during = f"the API server is away for {API_DOWN_SECONDS} s"
    with none_lost(tmp_path, measured, during, ground.pairs()) as pings:
        with no_api_server(ground.nodes[0]):
            began, first = time.monotonic(), pings[0].sent()

            def pinged_for(seconds: int) -> bool:
                return pings[0].sent() >= first + seconds * PINGS_A_SECOND

            is_back = kill_agent(node, made)
            wait_for(is_back, AGENT_SECONDS, f"the agent of {node.name} is back without an API server")
            measured("agent killed without an API server until it is back", time.monotonic() - began)
            wait_for(
                lambda: pinged_for(OPERATOR_LEFT_ALONE_SECONDS), API_DOWN_SECONDS, "half a minute of pings"
            )
            process(operators_node, OPERATOR, None).kill()
            wait_for(lambda: pinged_for(API_DOWN_SECONDS), 2 * API_DOWN_SECONDS, "two minutes of pings")
            measured("the API server was away", time.monotonic() - began)
        began = time.monotonic()
        wait_until_ready(ground.nodes)
        agent_again(made, node, agents, AGENT_SECONDS)
        made.wait()
        measured("API server back until status is true again", time.monotonic() - began)
        began = time.monotonic()
        # kube-proxy may take a minute until the API's Service leads to an API server that is back.
        renew_certificates(made, 3 * AGENT_SECONDS)
        measured("new certificates for all, asked for after that", time.monotonic() - began)
    assert identities(made) == before
    assert lives(made, "tunnel") == tunnels
    assert_only_agent_restarted(made, node, agents)
    measured("lines an agent logged meanwhile", log_lines(watcher) - lines, "lines", at_most=20)
    # The new operator was not killed for the missing API server at its start.
    (after,) = release.operator_pods()
    assert container(after)["restartCount"] == container(operator)["restartCount"] + 1


def test_an_agent_is_small(ground: Ground, measured: Measured) -> None:
    for number, node in enumerate(ground.nodes, 1):
        resident = process(node, AGENT, MESH).resident_mib()
        measured(f"resident memory of the agent on node {number}", resident, "MiB", at_most=95)
