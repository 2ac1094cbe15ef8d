"""A denied join ends with the reason in one sentence, printed by `wgmesh join` itself, and the right exit status."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.netns.mesh_harness import has_interface, lab_network, wgmesh
from tests.netns.plain_certificates import client_options, plain_certificate

from wgmesh_agent.lab.agent import Agent
from wgmesh_agent.lab.mesh import LIFETIME, Mesh
from wgmesh_api.identity import Role

pytestmark = [pytest.mark.netns, pytest.mark.slow]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A bootstrap node n1, and a host n2 that tries."""
    with lab_network() as network:
        mesh = Mesh(network)
        network.add_host("n1")
        network.add_host("n2")
        network.add_host("n3")
        mesh.bootstrap("n1")
        yield mesh


def join(mesh: Mesh, *options: str, name: str = "lab", tls: list[str] | None = None) -> tuple[int, str]:
    """Status and last words of a `wgmesh join` in n2's host."""
    credentials = mesh.join_tls("n2") if tls is None else tls
    target = [] if "-bootstrap-addr" in options else ["-bootstrap-addr", mesh.service_address("n1")]
    arguments = ["join", "-n", name, *credentials, *target, "--join-timeout", "1", *options]
    done: subprocess.CompletedProcess[str] = wgmesh(mesh.network.hosts["n2"], *arguments)
    assert "Traceback" not in done.stderr
    assert not has_interface(mesh.network.hosts["n2"])
    return done.returncode, done.stderr.splitlines()[-1] if done.stderr else ""


def refused(mesh: Mesh, reason: str) -> int:
    return int(mesh.agents["n1"].info().refusals.get(f"join_{reason}", 0))


def plain(mesh: Mesh, name: str, *, valid_for: timedelta = LIFETIME) -> list[str]:
    return client_options(plain_certificate(mesh, name, valid_for=valid_for))


def test_a_wrong_mesh_name_is_refused_with_status_1(mesh: Mesh) -> None:
    before = refused(mesh, "wrong_mesh")
    status, said = join(mesh, name="other")
    assert status == 1
    assert said.startswith("wgmesh: cannot join the mesh other: 10.0.0.1:5000 refused: ")
    assert "serves a mesh other than 'other'" in said
    assert refused(mesh, "wrong_mesh") == before + 1
    assert "join denied" in mesh.agents["n1"].said()


def test_a_certificate_for_another_node_is_refused(mesh: Mesh) -> None:
    status, said = join(mesh, "-node-name", "n7")
    assert (status, said) == (
        1,
        "wgmesh: cannot join the mesh lab: 10.0.0.1:5000 refused: the certificate is for the node n2, not n7",
    )


def test_a_certificate_of_another_authority_is_refused(mesh: Mesh) -> None:
    other = Mesh(mesh.network, "lab2")
    status, said = join(mesh, tls=other.join_tls("n2"))
    assert status == 1
    assert "the TLS handshake failed: check that both certificates are issued by the same CA" in said


def test_a_client_that_trusts_the_mesh_with_a_foreign_certificate_is_refused(mesh: Mesh) -> None:
    """Only the bootstrap node can find this out."""
    other = Mesh(mesh.network, "lab3")
    key, certificate, _ = other.certificate("n2", Role.NODE)
    tls = ["-client-key", str(key), "-client-cert", str(certificate), "-ca-cert", mesh.join_tls("n2")[-1]]
    status, said = join(mesh, tls=tls)
    assert status == 1
    assert "it closed the connection: check that it trusts this node's certificate" in said


def test_an_expired_certificate_is_refused(mesh: Mesh) -> None:
    status, said = join(mesh, tls=plain(mesh, "late", valid_for=-timedelta(minutes=1)))
    assert status == 1
    assert "expired" in said


def test_a_name_held_by_another_identity_is_refused(mesh: Mesh) -> None:
    certificate = plain(mesh, "somebody")
    target = ["-bootstrap-addr", mesh.service_address("n1")]
    holder = Agent(
        mesh.network.hosts["n3"], ["join", "-v", "-n", "lab", "-node-name", "n3", *certificate, *target]
    )
    holder.start()
    holder.wait_until_ready()
    status, said = join(mesh, "-node-name", "n3", tls=plain(mesh, "somebody-else"))
    assert status == 1
    assert "the name n3 is in use by another node: choose another, or run `wgmesh leave n3` there" in said


def test_the_bootstrap_node_s_own_name_is_refused(mesh: Mesh) -> None:
    status, said = join(mesh, "-node-name", "n1", tls=plain(mesh, "impostor"))
    assert status == 1
    assert "the name is the bootstrap node's own" in said


def test_an_endpoint_inside_the_mesh_is_refused(mesh: Mesh) -> None:
    status, said = join(mesh, "-listen-addr", "10.232.4.4")
    assert status == 1
    assert "an endpoint at 10.232.4.4 cannot be reached: it lies inside the mesh (10.232.0.0/16)" in said


def test_no_bootstrap_node_there_is_said_when_the_time_is_up(mesh: Mesh) -> None:
    status, said = join(mesh, "-bootstrap-addr", "10.0.0.1:5999")
    assert status == 1
    assert said.startswith("wgmesh: cannot join the mesh lab: 10.0.0.1:5999 no connection")


def test_tls_against_a_bootstrap_node_in_development_mode_is_said(mesh: Mesh) -> None:
    own = ("-listen-port", "54999", "--gossip-port", "7999", "-cidr", "10.240.0.0/16", "-ip", "10.240.1.1")
    dev = Mesh(
        mesh.network, "dev", tls=False, service_port=5002, socket="/run/dev.sock", bootstrap_options=own
    )
    dev.bootstrap("n3")
    status, said = join(mesh, "-bootstrap-addr", dev.service_address("n3"))
    assert status == 1
    assert "TLS handshake failed" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["join", "-n", "lab", "-dev"], "bootstrap-addr"),
        (["join", "-n", "lab", "-bootstrap-addr", "10.0.0.1:5000"], "-dev"),
        (["join", "-n", "much-too-long", "-dev", "-bootstrap-addr", "10.0.0.1:5000"], "much-too-long"),
        (["join", "-n", "lab", "-dev", "-bootstrap-addr", "10.0.0.1:0"], '"0" is not a port'),
        (["join", "-n", "lab", "-dev", "-no-such-flag"], "no-such-flag"),
        (["bootstrap", "-n", "lab", "-dev", "-cidr", "10.232.0.0"], "10.232.0.0"),
        (["bootstrap", "-n", "lab", "-dev", "-ip", "10.1.1.1"], "10.1.1.1"),
    ],
)
def test_wrong_use_exits_2_and_names_what_is_wrong(mesh: Mesh, arguments: list[str], complaint: str) -> None:
    done = wgmesh(mesh.network.hosts["n2"], *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_files_that_are_missing_or_no_certificates_are_named(mesh: Mesh) -> None:
    key, certificate, authority = mesh.certificate("n2", Role.NODE)
    no_key = ["-client-key", "/nowhere", "-client-cert", str(certificate), "-ca-cert", str(authority)]
    assert join(mesh, tls=no_key) == (2, "wgmesh: -client-key: there is no file /nowhere")
    swapped = ["-client-key", str(key), "-client-cert", str(key), "-ca-cert", str(authority)]
    status, said = join(mesh, tls=swapped)
    assert (status, "contains no PEM certificate" in said) == (1, True)


def test_nobody_was_let_in_by_any_of_it(mesh: Mesh) -> None:
    assert set(mesh.members("n1")) <= {"n1", "n3"}
