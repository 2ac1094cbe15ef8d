from __future__ import annotations

from typing import Any

import pytest

from wgmesh_api.resources.mesh import WgMeshSpec
from wgmesh_operator.decisions.cluster_node import ClusterNode, Taint
from wgmesh_operator.decisions.membership.scheduling import selects


def spec(**more: Any) -> WgMeshSpec:
    return WgMeshSpec.model_validate({"cidrs": ["10.232.0.0/16"]} | more)


def test_by_default_every_node_is_a_member() -> None:
    assert selects(
        spec(), ClusterNode("a", taints=(Taint("node-role.kubernetes.io/control-plane", "", "NoSchedule"),))
    )


@pytest.mark.parametrize(
    ("labels", "is_member"),
    [({"a": "1", "b": "2", "c": "3"}, True), ({"a": "1"}, False), ({"a": "1", "b": "3"}, False), ({}, False)],
)
def test_every_label_of_the_selector_must_match(labels: dict[str, str], is_member: bool) -> None:
    assert selects(spec(nodeSelector={"a": "1", "b": "2"}), ClusterNode("n", labels=labels)) is is_member


@pytest.mark.parametrize(
    ("tolerations", "taint", "is_member"),
    [
        ([], Taint("k", "v", "NoSchedule"), False),
        ([], Taint("k", "v", "PreferNoSchedule"), True),
        ([], Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"), True),
        ([], Taint("node.kubernetes.io/not-ready", "", "NoExecute"), True),
        ([{"key": "k", "operator": "Exists"}], Taint("k", "v", "NoSchedule"), True),
        ([{"key": "k", "value": "v"}], Taint("k", "v", "NoSchedule"), True),
        ([{"key": "k", "value": "w"}], Taint("k", "v", "NoSchedule"), False),
        ([{"key": "k"}], Taint("k", "", "NoSchedule"), True),
        ([{"key": "k", "operator": "Exists", "effect": "NoExecute"}], Taint("k", "v", "NoSchedule"), False),
        ([{"operator": "Exists"}], Taint("k", "v", "NoExecute"), True),
    ],
)
def test_taints_keep_out_who_does_not_tolerate_them(
    tolerations: list[dict[str, str]], taint: Taint, is_member: bool
) -> None:
    assert selects(spec(tolerations=tolerations), ClusterNode("n", taints=(taint,))) is is_member
