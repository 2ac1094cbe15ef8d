"""`helm uninstall` with meshes still there: explained, and safe."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import apply, get, items, wait_for
from tests.kind.meshes import Mesh, mesh_body
from tests.kind.nodes import Node
from tests.kind.release import NAME, NAMESPACE, Release, helm
from tests.kind.residue import difference, traces

KINDS = (
    "clusterroles,clusterrolebindings,priorityclasses,validatingadmissionpolicies,"
    "validatingadmissionpolicybindings"
)
KINDS_IN_NAMESPACE = (
    "deployments,daemonsets,services,serviceaccounts,roles,rolebindings,secrets,configmaps,jobs,pods,"
    "networkpolicies"
)


@pytest.fixture
def installed(release: Release) -> Iterator[Release]:
    """The release, installed again afterwards as all other tests have it."""
    yield release
    release.install()


@pytest.fixture
def blue(installed: Release) -> Iterator[Mesh]:
    apply(mesh_body("blue"))
    made = Mesh("blue")
    made.wait()
    yield made
    installed.install()
    made.delete()


def test_uninstall_refuses_while_a_mesh_exists_and_says_what_to_do(installed: Release, blue: Mesh) -> None:
    done = installed.uninstall(check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "still mesh blue" in said
    assert f"kubectl delete wgmeshes --all && helm uninstall {NAME} -n {NAMESPACE}" in said
    assert "delete-meshes-first" in said
    assert len(installed.operator_pods()) == 1
    assert blue.condition("FullyMeshed")["status"] == "True"

    # Helm's own record is half removed now; the printed command repairs it.
    (keep,) = re.findall(r"helm (rollback .*)$", said, re.M)
    helm(*shlex.split(keep))
    assert f"{NAME}\t" in helm("list", "-n", NAMESPACE, "--deployed").stdout
    installed.install()


def test_the_operator_alone_can_be_removed_and_nodes_stay_meshed(installed: Release, blue: Mesh) -> None:
    installed.uninstall("--no-hooks", "--wait")
    assert installed.operator_pods() == []
    assert set(blue.agents()) == set(blue.members())
    began = time.monotonic()
    installed.install()
    blue.wait("Ready")
    assert time.monotonic() - began < 120


def test_asked_to_it_deletes_meshes_first_and_leaves_nodes_clean(
    installed: Release, nodes: list[Node], measured: Measured
) -> None:
    before = [traces(node) for node in nodes]
    installed.install("uninstall.deleteMeshes=true")
    apply(mesh_body("blue"))
    Mesh("blue").wait()
    began = time.monotonic()
    installed.uninstall("--wait")
    measured("helm uninstall that deletes a mesh first", time.monotonic() - began, at_most=90)
    assert get("wgmesh", "blue") is None
    assert items("wgmeshnodes") == []
    assert [difference(*pair) for pair in zip(before, map(traces, nodes), strict=True)] == [{} for _ in nodes]


def test_nothing_but_the_definitions_outlives_the_release(installed: Release) -> None:
    installed.uninstall("--wait")
    ours = "app.kubernetes.io/name=wgmesh"

    def left() -> list[tuple[str, str]]:
        found = [*items(KINDS, labels=ours), *items(KINDS_IN_NAMESPACE, labels=ours, namespace=NAMESPACE)]
        return [(one["kind"], one["metadata"]["name"]) for one in found]

    # Helm does not wait for the operator's pod to end.
    wait_for(lambda: not left(), 40, "nothing is left", left)
    assert len(items("crd", labels=ours)) == 2
