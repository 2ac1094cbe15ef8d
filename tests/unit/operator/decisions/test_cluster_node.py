"""Kubernetes nodes as a mesh reads them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from tests.unit.operator.harness import NOW, node_body

from wgmesh_api.roster import ENDPOINT
from wgmesh_operator.decisions.cluster_node import ClusterNode, NodeAddresses, read_cluster_node

INTERNAL, EXTERNAL = ip_address("192.0.2.1"), ip_address("203.0.113.7")


def addresses(external: str = "", annotation: str = "") -> NodeAddresses:
    annotations = {ENDPOINT: annotation} if annotation else {}
    return read_cluster_node(
        node_body("n0", "192.0.2.1", external=external, annotations=annotations)
    ).addresses


def test_node_has_internal_addresses_and_an_external_one() -> None:
    assert addresses() == NodeAddresses((INTERNAL,))
    assert addresses("203.0.113.7") == NodeAddresses((INTERNAL,), EXTERNAL)


def test_external_address_that_is_internal_too_is_not_an_outer_one() -> None:
    assert addresses("192.0.2.1") == NodeAddresses((INTERNAL,))


def test_annotation_takes_precedence_over_an_external_address() -> None:
    assert addresses("203.0.113.7", "203.0.113.8").outer == ip_address("203.0.113.8")


def test_invalid_annotation_is_an_error_and_changes_nothing() -> None:
    read = addresses("203.0.113.7", "example.org")
    assert (read.internal, read.outer) == ((INTERNAL,), EXTERNAL)
    assert read.error


@pytest.mark.parametrize(
    ("read", "every"),
    [
        (NodeAddresses(), ()),
        (NodeAddresses((INTERNAL,)), (INTERNAL,)),
        (NodeAddresses(outer=EXTERNAL), (EXTERNAL,)),
        (NodeAddresses((INTERNAL,), EXTERNAL), (INTERNAL, EXTERNAL)),
    ],
)
def test_every_address_of_a_node_is_its_internal_ones_and_the_outer_one(
    read: NodeAddresses, every: tuple[object, ...]
) -> None:
    assert read.every == every


def test_node_is_read_with_zone_readiness_and_pod_ranges() -> None:
    node = read_cluster_node(node_body("n0", zone="z1", ready=False, changed=NOW, pod_cidr="172.16.0.0/24"))
    assert (node.name, node.zone, node.ready, node.changed) == ("n0", "z1", False, NOW)
    assert node.pod_cidrs == (ip_network("172.16.0.0/24"),)


def test_node_without_status_is_not_ready_and_has_no_addresses() -> None:
    node = read_cluster_node({"metadata": {"name": "n0"}})
    assert (node.ready, node.addresses) == (False, NodeAddresses())
    assert ClusterNode("n0").zone == ""
