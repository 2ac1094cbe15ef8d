"""A cluster of IPv6 alone, its nodes without IPv4 but on the loopback: chart, operator, probes, agents, meshes.

`tests/kind/run` makes one for this file. Docker still gives each node an IPv4 address, which is taken away here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import get, kubectl, table, wait_for
from tests.kind.meshes import HEALTH_PORT, SECOND_PORTS, WIREGUARD_PORT, Mesh, mesh
from tests.kind.nodes import Node
from tests.kind.release import NAME, NAMESPACE, Release

OPERATOR_PORT = 8080
ANSWER_SECONDS = 60.0


def take_ipv4(node: Node) -> None:
    """Flushes the node's IPv4. The node knows the API server by name, which Docker's name server on the loopback tells:
    it stays, at the address that kind leads to it.
    """
    (server,) = re.findall(
        r"^nameserver (\S+\.\S+)$", node.inside("cat", "/etc/resolv.conf").stdout, re.MULTILINE
    )
    node.run("ip", "route", "replace", server, "dev", "lo", "src", "127.0.0.1")
    node.run("ip", "-4", "address", "flush", "dev", "eth0")


def underlay(node: Node) -> str:
    """The address by which Kubernetes knows the node."""
    text = kubectl(
        "get", "node", node.name, "-o", 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'
    )
    assert isinstance(ip_address(text), IPv6Address), "tests/kind/run makes a cluster of IPv6 for this file"
    return text


def answer(node: Node, host: str, port: int, path: str) -> str:
    """What a web server says to a node; nothing if there is none, or if it says that it is not well."""
    url = f"http://[{host}]:{port}{path}"
    return node.run("curl", "--globoff", "-sf", "--max-time", "3", url, check=False).stdout


@pytest.fixture(scope="module")
def addresses(nodes: list[Node]) -> dict[str, str]:
    """Underlay addresses by node name, once there are no others."""
    found = {node.name: underlay(node) for node in nodes}
    for node in nodes:
        take_ipv4(node)
        assert node.run("ip", "-4", "-br", "address", "show", "scope", "global").stdout == ""
    return found


@pytest.fixture(scope="module")
def release(images: tuple[str, str], addresses: dict[str, str], measured: Measured) -> Iterator[Release]:
    made = Release(images[0])
    began = time.monotonic()
    made.install()
    measured("helm install until the operator is ready, on IPv6 alone", time.monotonic() - began)
    yield made
    made.uninstall("--no-hooks")


@pytest.fixture(scope="module")
def blue(release: Release, measured: Measured) -> Iterator[Mesh]:
    """Meshed, with addresses of IPv6."""
    with mesh("blue", "fd00:232::/64") as made:
        began = time.monotonic()
        made.wait()
        measured("a mesh until it is full, on IPv6 alone", time.monotonic() - began)
        yield made


def test_the_operator_is_ready_and_answers_at_its_pod_and_its_service(
    release: Release, nodes: list[Node]
) -> None:
    (pod,) = release.operator_pods()
    (container,) = pod["status"]["containerStatuses"]
    assert container["ready"]
    assert container["restartCount"] == 0
    service = get("service", f"{NAME}-operator", NAMESPACE)
    assert service is not None
    for host in (pod["status"]["podIP"], service["spec"]["clusterIP"]):
        assert isinstance(ip_address(host), IPv6Address)
        for node in nodes:
            wait_for(
                lambda: '"progress"' in answer(node, host, OPERATOR_PORT, "/healthz"),  # noqa: B023
                ANSWER_SECONDS,
                f"the operator answers {node.name} at {host}",
            )


def test_the_mesh_is_full_as_people_see_it(blue: Mesh, nodes: list[Node], addresses: dict[str, str]) -> None:
    count = len(nodes)
    (row,) = table("wgmesh", "blue")
    links = count * (count - 1)
    assert (row["NODES"], row["LINKS"], row["READY"]) == (f"{count}/{count}", f"{links}/{links}", "True")
    shown = {found["NAME"]: found["ENDPOINT"] for found in table("wgmeshnodes")}
    assert shown == {f"blue.{name}": f"[{address}]:{WIREGUARD_PORT}" for name, address in addresses.items()}


def test_every_node_reaches_every_other_at_its_mesh_address(blue: Mesh, nodes: list[Node]) -> None:
    ping_all(blue, nodes)


def ping_all(mesh: Mesh, nodes: list[Node]) -> None:
    for node, address in mesh.pairs(nodes):
        done = node.run("ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", address, check=False)
        assert " 3 received" in done.stdout, f"{node.name} to {address}: {done.stdout}"


def test_a_mesh_with_addresses_of_ipv4_lies_on_ipv6_just_the_same(blue: Mesh, nodes: list[Node]) -> None:
    with mesh("green", "10.232.0.0/16", **SECOND_PORTS) as green:
        green.wait()
        ping_all(green, nodes)


def test_agents_tell_health_and_metrics_at_their_nodes_addresses(
    blue: Mesh, nodes: list[Node], addresses: dict[str, str]
) -> None:
    for name, address in addresses.items():
        for node in nodes:
            assert answer(node, address, HEALTH_PORT, "/readyz").strip() == "ok", f"{node.name} to {name}"
            assert "\nwgmesh_" in answer(node, address, HEALTH_PORT, "/metrics"), f"{node.name} to {name}"


def test_an_agent_that_is_started_anew_finds_the_others_again(blue: Mesh, nodes: list[Node]) -> None:
    before = blue.agents()
    kubectl("delete", "pod", "-n", NAMESPACE, *before.values())
    wait_for(
        lambda: len(blue.agents()) == len(nodes) and not set(before.values()) & set(blue.agents().values()),
        ANSWER_SECONDS,
        "all agents are new",
    )
    kubectl("rollout", "status", f"daemonset/{NAME}-blue", "-n", NAMESPACE, "--timeout=60s", seconds=70)
    blue.wait()
    ping_all(blue, nodes)


def test_helm_test_passes(blue: Mesh, release: Release) -> None:
    done = release.test()
    assert done.returncode == 0, done.stdout + done.stderr
