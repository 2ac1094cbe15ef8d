"""Nodes as their owners keep them: a port that another program has, an address that peers cannot reach any more."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import kubectl, wait_for
from tests.kind.meshes import HEALTH_PORT, WIREGUARD_PORT, mesh
from tests.kind.nodes import Node
from tests.kind.outages import agent_is_ready, cutting
from tests.kind.pinging import none_lost, pinging, unanswered
from tests.kind.pod_lifetimes import container, lives
from tests.kind.release import Release

TOLD_SECONDS = 60
SERVED_SECONDS = 60
"""An agent retries the port every 10 s; the kubelet probes every 10 s, and reports to the operator after that."""
HINTED_SECONDS = 60
_TRANSLATED = """
add table ip e2e_nat
add chain ip e2e_nat in {{ type nat hook prerouting priority dstnat; }}
add rule ip e2e_nat in ip daddr {outer} udp dport {port} dnat to {inner}
"""


@pytest.fixture(scope="module")
def holder(nodes: list[Node]) -> Node:
    return nodes[1]


@contextmanager
def holding(node: Node, port: int) -> Iterator[None]:
    """Another program listens on the port, at all of the node's addresses."""
    script = (
        f"import signal, socket; s = socket.create_server(('', {port})); print(flush=True); signal.pause()"
    )
    command = [*node.enter(), sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), f"nothing can listen on port {port} of {node.name}"
            yield
        finally:
            process.kill()


def test_a_taken_metrics_port_costs_no_tunnel_and_no_restart_and_is_told_until_it_is_free(
    release: Release, nodes: list[Node], holder: Node, tmp_path: Path, measured: Measured
) -> None:
    with mesh("blue") as made:
        with holding(holder, HEALTH_PORT):
            made.wait()
            with none_lost(tmp_path, measured, "a node's metrics port is taken", made.pairs(nodes)):
                began = time.monotonic()
                wait_for(
                    lambda: made.condition("Degraded").get("reason") == "MetricsNotServed",
                    TOLD_SECONDS,
                    "the taken port is told",
                    lambda: made.status().get("conditions"),
                )
                measured("mesh up until its taken metrics port is told", time.monotonic() - began)
                assert holder.name in made.condition("Degraded")["message"]
                assert not container(made.pods("agent")[holder.name])["ready"]
        began = time.monotonic()
        made.wait("Degraded", "False", SERVED_SECONDS)
        measured(
            "metrics port free until the mesh is not degraded",
            time.monotonic() - began,
            at_most=SERVED_SECONDS,
        )
        assert agent_is_ready(holder)
        assert {restarts for _, restarts in lives(made, "agent").values()} == {0}


@contextmanager
def another_address(node: Node) -> Iterator[str]:
    """An address that is translated to the node's own, and back in responses, as in clouds; configured nowhere."""
    shown = node.json("ip", "-j", "-4", "addr", "show", "dev", "eth0")[0]["addr_info"][0]
    network = ipaddress.ip_network(f"{shown['local']}/{shown['prefixlen']}", strict=False)
    address = f"{network[-7]}/{shown['prefixlen']}"
    outer = address.partition("/")[0]
    node.run("ip", "addr", "add", address, "dev", "eth0")
    try:
        node.run(
            "nft", "-f", "-", stdin=_TRANSLATED.format(outer=outer, inner=shown["local"], port=WIREGUARD_PORT)
        )
        yield outer
    finally:
        node.run("nft", "delete", "table", "ip", "e2e_nat", check=False)
        node.run("ip", "addr", "del", address, "dev", "eth0")


def test_a_node_that_its_peers_cannot_reach_is_heard_again_at_the_address_of_its_annotation(
    release: Release, nodes: list[Node], holder: Node, tmp_path: Path, measured: Measured
) -> None:
    others = [node for node in nodes if node != holder]
    with mesh("blue") as made, another_address(holder) as address:
        made.wait()
        target = made.addresses()[holder.name][0]
        ways = [(node, target) for node in others]
        with cutting(others[0]) as cut_one, cutting(others[1]) as cut_other:
            for cut in (cut_one, cut_other):
                cut("to", holder)
                cut("from", holder)
            wait_for(lambda: all(unanswered(*way) for way in ways), HINTED_SECONDS, "nobody reaches the node")
            began = time.monotonic()
            kubectl("annotate", "node", holder.name, f"wgmesh.dev/endpoint={address}")
            try:
                with pinging(tmp_path, *ways, seconds=HINTED_SECONDS):
                    measured(
                        "node annotated with another endpoint until it is reached", time.monotonic() - began
                    )
                made.wait()
            finally:
                kubectl("annotate", "node", holder.name, "wgmesh.dev/endpoint-")
        made.wait()
