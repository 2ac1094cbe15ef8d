"""Trust and its end: a CA rotated, external members, certificates renewed, members revoked.

All on one mesh whose certificates last minutes: during the tests they are due for renewal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.kind.evidence import Measured
from tests.kind.kubectl import Object, apply, delete, get, kubectl, wait_for
from tests.kind.link_cut import apart
from tests.kind.machines import bundle, exit_status, external, machine, said
from tests.kind.meshes import Mesh, mesh_body
from tests.kind.nodes import Node
from tests.kind.pinging import none_lost, pinging, unanswered
from tests.kind.processes import AGENT, process
from tests.kind.release import NAMESPACE, Release
from tests.kind.stolen_credentials import (
    ADMITTED,
    authorities,
    fingerprint,
    is_signed_by,
    issued,
    join_with,
    papers,
    serials,
    served,
)

LIFETIME = "5m"
RENEWED_SECONDS = 420
"""A certificate of 5 minutes is renewed after 200 s; a busy machine may take longer to see it."""
ROLLED_SECONDS = 180
CHANGED_SECONDS = 120
CUT_OFF_SECONDS = 15
WIREGUARD_PORT = 54540
OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class Ground:
    """A mesh on all nodes; `plain` is the one that is not a bootstrap node."""

    mesh: Mesh
    nodes: list[Node]
    doors: dict[str, str]
    plain: Node

    @property
    def admitting(self) -> list[Node]:
        return [node for node in self.nodes if node.name in self.doors]


@pytest.fixture(scope="module")
def blue(release: Release) -> Iterator[Mesh]:
    made = Mesh("blue")
    yield made
    made.delete()


@pytest.fixture(scope="module")
def ground(blue: Mesh, nodes: list[Node]) -> Ground:
    apply(mesh_body(blue.name, certificates={"lifetime": LIFETIME}))
    blue.wait()
    doors = {door["node"]: door["address"] for door in blue.status()["bootstraps"]}
    assert len(doors) == 2
    (plain,) = (node for node in nodes if node.name not in doors)
    return Ground(blue, nodes, doors, plain)


@pytest.fixture
def outsider(ground: Ground) -> Iterator[None]:
    """The WgMeshNode of an external machine."""
    external(ground.mesh, OUTSIDE)
    yield
    delete("wgmeshnode", f"{ground.mesh.name}.{OUTSIDE}")
    wait_for(lambda: ground.mesh.counts() == ("3/3", "6/6"), CHANGED_SECONDS, "3/3, 6/6", ground.mesh.status)


def outside_pairs(ground: Ground, there: Node) -> list[tuple[Node, str]]:
    """Pairs of pings: every node and the external machine, in both directions."""
    (address,) = ground.mesh.addresses()[OUTSIDE]
    inside = [(there, ground.mesh.addresses()[node.name][0]) for node in ground.nodes]
    return [*((node, address) for node in ground.nodes), *inside]


def test_a_roll_over_of_the_ca_replaces_all_certificates_and_costs_no_ping(
    ground: Ground, outsider: None, images: tuple[str, str], measured: Measured, tmp_path: Path
) -> None:
    mesh, name = ground.mesh, f"e2e-{ground.nodes[0].name}-{OUTSIDE}"
    file = tmp_path / "bundle.json"
    made = bundle(mesh, OUTSIDE, file)
    (old,) = authorities(mesh)
    stolen = papers(ground.plain, mesh.name)
    with machine(name, images[0], ground.nodes[0], file) as there:
        wait_for(lambda: mesh.counts() == ("4/4", "12/12"), CHANGED_SECONDS, "4/4, 12/12", mesh.status)
        pairs = [*mesh.pairs(ground.nodes), *outside_pairs(ground, there)]
        with none_lost(tmp_path, measured, "the CA is rotated, with an external member", pairs):
            new = rolled_over(ground, old, measured)
        assert mesh.counts() == ("4/4", "12/12")
    assert {"CARotationStarted", "CASwitched", "CARotated"} <= mesh.events()
    for node in ground.nodes:
        held = papers(node, mesh.name)
        assert is_signed_by(held.leaf(), new)
        assert x509.load_pem_x509_certificates(held.authorities) == [new]
    for door in ground.doors.values():
        assert is_signed_by(served(door), new)
        # The thief knows the new CA, so that it is the door that does not trust him.
        shown = type(stolen)(stolen.key, stolen.certificate, mesh.status()["trustBundle"].encode())
        answer = join_with(shown, door, mesh.name, mesh.members()[ground.plain.name])
        assert answer.startswith("JoinUnreachable: it closed the connection"), answer
    assert mesh.condition("CertificatesReady")["reason"] == "CertificatesIssued"
    # The external machine was not awaited: to join again it needs the bundle created since.
    bundle(mesh, OUTSIDE, file, unlike=made)
    with machine(name, images[0], ground.nodes[0], file):
        wait_for(lambda: mesh.counts() == ("4/4", "12/12"), CHANGED_SECONDS, "4/4, 12/12 again", mesh.status)


def rolled_over(ground: Ground, old: x509.Certificate, measured: Measured) -> x509.Certificate:
    """The CA that all nodes trust, and no other, after the annotation."""
    mesh, began, phases = ground.mesh, time.monotonic(), {1}
    mesh.rotate("ca")

    def is_over() -> bool:
        trusted = authorities(mesh)
        phases.add(len(trusted))
        return len(trusted) == 1 and trusted[0] != old

    wait_for(is_over, ROLLED_SECONDS, "only a new CA is trusted", mesh.status)
    (new,) = authorities(mesh)
    names = {node.name for node in ground.nodes}
    wait_for(
        lambda: all(
            (member["status"]["certificateIssuer"], member["status"]["trustedCAs"])
            == (fingerprint(new), [fingerprint(new)])
            for name, member in mesh.members().items()
            if name in names
        ),
        ROLLED_SECONDS,
        "all nodes have certificates of the new CA and trust no other",
        mesh.members,
    )
    measured("rotate-ca annotated until no node trusts the old CA", time.monotonic() - began)
    assert phases == {1, 2}
    return new


def row(mesh: Mesh, node: str) -> dict[str, str]:
    """What `kubectl get wgmeshnodes` shows of a member, by column."""
    head, found = kubectl("get", "wgmeshnodes", f"{mesh.name}.{node}").splitlines()
    titles = head.split()
    # By where they stand: some are empty.
    starts = [*(head.index(title) for title in titles), len(found)]
    return {
        title: found[start:end].strip() for title, (start, end) in zip(titles, pairwise(starts), strict=True)
    }


def test_a_machine_outside_enters_with_its_bundle_counts_and_is_cut_off_for_good(
    ground: Ground,
    outsider: None,
    images: tuple[str, str],
    measured: Measured,
    tmp_path: Path,
) -> None:
    mesh, name = ground.mesh, f"e2e-{ground.nodes[0].name}-{OUTSIDE}"
    file = tmp_path / "bundle.json"
    made = bundle(mesh, OUTSIDE, file)
    # Its namesake of the previous test is deleted, and the two are not confused.
    assert (
        wait_for(lambda: mesh.members()[OUTSIDE]["status"]["phase"], CHANGED_SECONDS, "its phase")
        == "Pending"
    )
    assert mesh.counts() == ("3/3", "6/6")
    with machine(name, images[0], ground.nodes[0], file) as there:
        began = time.monotonic()
        wait_for(lambda: mesh.counts() == ("4/4", "12/12"), CHANGED_SECONDS, "4/4, 12/12", mesh.status)
        measured("wgmesh join --bundle until the mesh counts 4/4, 12/12", time.monotonic() - began)
        mesh.wait()
        assert row(mesh, OUTSIDE)["PEERS"] == "3/3"
        assert row(mesh, OUTSIDE)["READY"] == "True"
        assert row(mesh, OUTSIDE)["ENDPOINT"] == f"{there.underlay()}:{WIREGUARD_PORT}"
        both_ways(ground, there, measured, tmp_path)
        assert_counted_honestly(ground, there, measured)
        assert_cut_off(ground, there, measured, tmp_path)
        assert_no_way_back(ground, there, measured)
    stranger = tmp_path / "again"
    stranger.mkdir()
    assert_refused(ground, images[0], file, "no member outside")
    # One of the same name is another: credentials of the first are rejected.
    external(mesh, OUTSIDE)
    bundle(mesh, OUTSIDE, stranger / "bundle.json", unlike=made)
    assert_refused(ground, images[0], file, "older than the member outside")


def both_ways(ground: Ground, there: Node, measured: Measured, folder: Path) -> None:
    pairs = outside_pairs(ground, there)
    with none_lost(folder, measured, "pinged between each node and a machine outside", pairs) as pings:
        assert len(pings) == 6


def assert_counted_honestly(ground: Ground, there: Node, measured: Measured) -> None:
    """A link to it that is cut is missed in LINKS on both ends, and named."""
    mesh, node = ground.mesh, ground.plain
    with apart(node, there, WIREGUARD_PORT):
        began = time.monotonic()
        wait_for(lambda: mesh.counts() == ("4/4", "10/12"), CHANGED_SECONDS, "4/4, 10/12", mesh.status)
        measured("a machine outside apart from one node until LINKS is 10/12", time.monotonic() - began)
        assert any(line.startswith(f"{node.name} -> {OUTSIDE}") for line in mesh.status()["downLinks"])
        assert mesh.condition("FullyMeshed")["status"] == "False"
    wait_for(lambda: mesh.counts() == ("4/4", "12/12"), CHANGED_SECONDS, "4/4, 12/12 again", mesh.status)


def assert_cut_off(ground: Ground, there: Node, measured: Measured, folder: Path) -> None:
    mesh = ground.mesh
    key, (address,) = mesh.keys()[OUTSIDE], mesh.addresses()[OUTSIDE]
    assert all(key in mesh.peers(node.name) for node in ground.nodes)
    log = folder / "cut-off"
    log.mkdir()
    with none_lost(log, measured, "a machine outside is cut off", mesh.pairs(ground.nodes)):
        began = time.monotonic()
        delete("wgmeshnode", f"{mesh.name}.{OUTSIDE}")
        wait_for(
            lambda: not any(key in mesh.peers(node.name) for node in ground.nodes),
            CHANGED_SECONDS,
            "no node has it as a peer",
        )
        measured(
            "external WgMeshNode deleted until no node has its peer",
            time.monotonic() - began,
            at_most=CUT_OFF_SECONDS,
        )
        wait_for(lambda: mesh.counts() == ("3/3", "6/6"), CHANGED_SECONDS, "3/3, 6/6", mesh.status)
    for node in ground.nodes:
        assert unanswered(node, address)
        assert unanswered(there, mesh.addresses()[node.name][0])
    wait_for(
        lambda: get("secret", f"wgmesh-{mesh.name}-{OUTSIDE}-join", NAMESPACE) is None,
        CHANGED_SECONDS,
        "its bundle is gone",
    )


def assert_no_way_back(ground: Ground, there: Node, measured: Measured) -> None:
    """The agent of an isolated machine keeps retrying, and is denied."""
    mesh = ground.mesh
    words = f"the roster has no member {OUTSIDE}"
    wait_for(lambda: words in said(there.name), CHANGED_SECONDS, f"the machine is told: {words}")
    assert OUTSIDE not in mesh.members()
    assert mesh.counts() == ("3/3", "6/6")
    assert all(len(mesh.peers(node.name)) == 2 for node in ground.nodes)


def assert_refused(ground: Ground, image: str, file: Path, words: str) -> None:
    """A machine that starts with this bundle ends, and says why."""
    mesh, name = ground.mesh, f"e2e-{ground.nodes[0].name}-stranger"
    with machine(name, image, ground.nodes[0], file) as there:
        wait_for(lambda: exit_status(there.name) is not None, CHANGED_SECONDS, "it gives up")
        assert exit_status(name) == 1
        assert words in said(name), said(name)
    assert all(len(mesh.peers(node.name)) == 2 for node in ground.nodes)


@contextmanager
def frozen_agent(node: Node, mesh: Mesh) -> Iterator[None]:
    """Its agent does nothing any more, like that of a malicious member; WireGuard keeps running."""
    pid = str(process(node, AGENT, mesh.name).pid)
    node.inside("kill", "-STOP", pid)
    try:
        yield
    finally:
        node.inside("kill", "-CONT", pid)


def test_a_revoked_member_is_cut_off_whether_it_likes_or_not_and_enters_again_only_with_new_papers(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    mesh, node = ground.mesh, ground.plain
    old = mesh.members()[node.name]
    stolen = papers(node, mesh.name)
    for door in ground.doors.values():
        assert join_with(stolen, door, mesh.name, old) == ADMITTED
    with none_lost(tmp_path, measured, "another member is revoked", mesh.pairs(ground.admitting)):
        with frozen_agent(node, mesh):
            began = time.monotonic()
            delete_and_do_not_wait(mesh, node)
            wait_for(
                lambda: (
                    not any(
                        old["status"]["publicKey"] in mesh.peers(other.name) for other in ground.admitting
                    )
                ),
                CHANGED_SECONDS,
                "no other node has it as a peer",
            )
            measured(
                "WgMeshNode deleted until no other node has its peer",
                time.monotonic() - began,
                at_most=CUT_OFF_SECONDS,
            )
            for other in ground.admitting:
                assert unanswered(node, mesh.addresses()[other.name][0])
                assert unanswered(other, old["spec"]["addresses"][0])
            assert_no_door_opens(ground, stolen, old, "no member")
        began = time.monotonic()
        wait_for(
            lambda: uid(mesh, node) not in (None, old["metadata"]["uid"]), CHANGED_SECONDS, "it is made anew"
        )
        mesh.wait("FullyMeshed", "False")
        mesh.wait()
        wait_for(
            lambda: mesh.members()[node.name]["status"].get("certificateSerial"),
            CHANGED_SECONDS,
            "it has a certificate",
        )
        measured("its agent thawed until it is a member again, with new papers", time.monotonic() - began)
    new = mesh.members()[node.name]
    for what in ("certificateSerial", "publicKey"):
        assert new["status"][what] != old["status"][what]
    assert new["spec"]["addresses"] == old["spec"]["addresses"]
    assert_no_door_opens(ground, stolen, old, f"older than the member {node.name}")
    back = tmp_path / "back"
    back.mkdir()
    with pinging(back, *mesh.pairs(ground.nodes)):
        assert mesh.status()["links"] == "6/6"


def uid(mesh: Mesh, node: Node) -> str | None:
    found = get("wgmeshnode", f"{mesh.name}.{node.name}")
    return None if found is None else str(found["metadata"]["uid"])


def delete_and_do_not_wait(mesh: Mesh, node: Node) -> None:
    kubectl("delete", "wgmeshnode", f"{mesh.name}.{node.name}", "--wait=false")


def assert_no_door_opens(ground: Ground, stolen: Any, member: Object, words: str) -> None:
    for door in ground.doors.values():
        answer = join_with(stolen, door, ground.mesh.name, member)
        assert answer.startswith("JoinRefused: "), answer
        assert words in answer, answer
    for other in ground.admitting:
        assert member["status"]["publicKey"] not in ground.mesh.peers(other.name)


def test_certificates_are_renewed_before_they_end_and_no_ping_is_lost(
    ground: Ground, measured: Measured, tmp_path: Path
) -> None:
    mesh = ground.mesh
    # Those of the third are newer, if it was revoked in between.
    nodes = ground.admitting
    before = serials(mesh)
    with none_lost(tmp_path, measured, "certificates are renewed", mesh.pairs(ground.nodes)):
        began = time.monotonic()
        wait_for(
            lambda: all(serials(mesh)[node.name] != before[node.name] for node in nodes),
            RENEWED_SECONDS,
            "two nodes have other certificates",
            mesh.members,
        )
        measured("waited for certificates of 5 minutes to be renewed", time.monotonic() - began)
    for node in nodes:
        held = papers(node, mesh.name).leaf()
        assert f"{held.serial_number:x}" == serials(mesh)[node.name]
        ends = datetime.fromisoformat(mesh.members()[node.name]["status"]["certificateNotAfter"])
        assert held.not_valid_after_utc == ends
    for door in ground.doors.values():
        assert served(door).serial_number in {int(serial, 16) for serial in serials(mesh).values()}
    # The first of each node's is that of its entry.
    renewals = sum(len(issued(mesh, node.name)) - 1 for node in nodes)
    measured("certificates issued anew to two nodes: roll-over and renewal", renewals, "certificates")
    assert renewals >= 2 * len(nodes)
    assert mesh.condition("CertificatesReady")["status"] == "True"
