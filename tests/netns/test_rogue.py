"""A compromised member holds the gossip key: its claims about others change no peer anywhere."""

import base64
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from tests.netns.doctor_harness import doctor, finding_of
from tests.netns.mesh_harness import eventually, lab_mesh, status, stays, wgmesh, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.mesh.membership.admission_record import AdmissionRecord, Signer
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.peer_codec import peer_message
from wgmesh_agent.runtime.checksummed_file import load
from wgmesh_agent.state.codec import members_from_json
from wgmesh_agent.state.store import KEY, MEMBERS
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.identity import Role
from wgmesh_api.meshservice_pb2 import Peer

pytestmark = pytest.mark.netns
HONEST = ["n1", "n2", "n3"]
ELSEWHERE = Endpoint(ip_address("10.0.0.66"), 54540)
CALM_SECONDS = 0.5
Peers = dict[str, dict[str, frozenset[str]]]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """Four members; n4's agent is dead, and its host with interface, keys and state is the rogue's."""
    with lab_mesh(4) as mesh:
        mesh.agents["n4"].kill()
        yield mesh


class Rogue:
    """The process in n4's host."""

    def __init__(self, mesh: Mesh, name: str, port: int) -> None:
        self._socket = mesh.network.folder / f"rogue-{name}"
        self._log = mesh.network.folder / f"rogue-{name}.log"
        setting = {
            "folder": f"/var/lib/wgmesh/{mesh.name}",
            "name": name,
            "port": port,
            "seeds": [mesh.mesh_address("n1")],
            "tags": {},
            "socket": str(self._socket),
        }
        script = Path(__file__).with_name("rogue.py")
        with self._log.open("wb") as output:
            command = [sys.executable, str(script), json.dumps(setting)]
            self._process = mesh.network.hosts["n4"].popen(command, output)
        eventually(self._socket.exists, 20, lambda: f"the rogue runs: {self._log.read_text()}")

    def order(self, **order: Any) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._socket))
            connection.sendall(json.dumps(order).encode())
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(4) == b"done", self._log.read_text()

    def announce(self, payload: bytes) -> None:
        self.order(events=[("_j", base64.b64encode(payload).decode())])

    def end(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._socket.unlink(missing_ok=True)


@contextmanager
def rogue_named(mesh: Mesh, name: str, port: int) -> Iterator[Rogue]:
    rogue = Rogue(mesh, name, port)
    try:
        yield rogue
    finally:
        rogue.end()


@pytest.fixture(scope="module")
def rogue(mesh: Mesh) -> Iterator[Rogue]:
    """One that calls itself n5; its address is n4's."""
    with rogue_named(mesh, "n5", 7950) as rogue:
        yield rogue


def some_key() -> PublicKey:
    return PrivateKey.generate(os.urandom).public()


def key_of(mesh: Mesh, node: str) -> PublicKey:
    return PublicKey.from_base64(mesh.members("n1")[node].pubkey)


def address_of(mesh: Mesh, node: str) -> str:
    return mesh.members("n1")[node].addr


def peers(mesh: Mesh) -> Peers:
    """Keys and their allowed IPs on all honest nodes."""
    return {
        node: {key: tunnel.allowed_ips for key, tunnel in wireguard(mesh.network.hosts[node]).tunnels.items()}
        for node in HONEST
    }


@dataclass
class Watch:
    """What is so before a claim, to compare with afterwards."""

    mesh: Mesh

    def __post_init__(self) -> None:
        self._peers = peers(self.mesh)
        self._counts = self._counted()

    def refused(self, reason: str, but: str = "", again: Callable[[], None] | None = None) -> None:
        """Waits until all members (`but` one) have counted and logged it, and verifies that no peer changed.

        Args:
            again: repeats the claim until all have: a node that has just joined drops earlier events.
        """
        witnesses = [node for node in HONEST if node != but]

        def is_counted() -> bool:
            counted = self._counted()
            found = all(
                counted[node].get(reason, 0) > self._counts[node].get(reason, 0) for node in witnesses
            )
            if not found and again is not None:
                again()
            return found

        eventually(
            is_counted,
            20,
            lambda: f"{witnesses} count {reason}: {self._counted()}, before {self._counts}",
        )
        for node in witnesses:
            assert f"reason={reason}" in self.mesh.agents[node].log.read_text()
        self.unchanged()

    def unchanged(self, seconds: float = CALM_SECONDS) -> None:
        stays(lambda: peers(self.mesh) == self._peers, seconds, "no peer changes")

    def _counted(self) -> dict[str, dict[str, int]]:
        return {node: dict(self.mesh.agents[node].info().refusals) for node in HONEST}


def announcement(
    key: PublicKey, address: str, node: str = "", kind: Peer.AnnouncementType = Peer.JOIN
) -> bytes:
    return peer_message(Claim(node, key, (ip_address(address),), (ELSEWHERE,)), kind).SerializeToString()


def tags(key: object, address: str) -> dict[str, str]:
    return {
        "_pk": str(key),
        "_i": address,
        "_t": "n",
        "_addr": str(ELSEWHERE.address),
        "_port": str(ELSEWHERE.port),
    }


def test_a_key_of_its_own_for_another_s_address_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), address_of(mesh, "n2")))
    watch.refused("address_bound", but="n2")


def test_a_key_of_its_own_for_another_s_name_and_address_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), address_of(mesh, "n2"), "n2"))
    watch.refused("address_bound", but="n2")


def test_a_key_of_its_own_for_another_s_name_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), "10.232.0.77", "n2"))
    watch.refused("name_bound", but="n2")


def test_another_s_key_for_its_own_address_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(key_of(mesh, "n2"), address_of(mesh, "n4"), "n4"))
    watch.refused("address_bound", but="n2")


def test_another_s_key_for_a_free_address_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(key_of(mesh, "n2"), "10.232.0.77"))
    watch.refused("address_changed", but="n2")


def test_another_s_key_and_address_under_a_new_name_are_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(key_of(mesh, "n2"), address_of(mesh, "n2"), "n9"))
    watch.refused("key_bound", but="n2")


def test_its_own_key_for_another_s_address_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(key_of(mesh, "n4"), address_of(mesh, "n3"), "n4"))
    watch.refused("address_bound", but="n3")


@pytest.mark.parametrize("address", ["10.233.0.1", "10.232.0.0", "10.232.255.255", "fd00::1"])
def test_an_address_that_no_member_may_have_is_refused(mesh: Mesh, rogue: Rogue, address: str) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), address, "n9"))
    watch.refused("bad_address")


def test_a_name_that_no_member_may_have_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), "10.232.0.77", "n 9\n"))
    watch.refused("bad_name")


def test_that_a_living_member_left_is_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(key_of(mesh, "n2"), address_of(mesh, "n2"), "n2", Peer.LEAVE))
    watch.refused("leave_of_member", but="n2")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\x00garbage",
        Peer(pubkey="AAAA", meshIP="10.232.0.77").SerializeToString(),
        Peer(pubkey=str(some_key()), meshIP="10.232.0").SerializeToString(),
        Peer(
            pubkey=str(some_key()), meshIP="10.232.0.77", endpointIP="::1", endpointPort=-1
        ).SerializeToString(),
    ],
    ids=["no message", "no key", "no address", "no port"],
)
def test_an_announcement_that_makes_no_sense_is_refused(mesh: Mesh, rogue: Rogue, garbage: bytes) -> None:
    watch = Watch(mesh)
    rogue.announce(garbage)
    watch.refused("malformed_announcement")


def test_tags_with_another_s_key_are_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.order(tags=tags(key_of(mesh, "n2"), address_of(mesh, "n4")))
    watch.refused("address_bound", but="n2")


@pytest.mark.parametrize("address", ["10.232.1.1", "10.233.0.1"], ids=["another's", "outside"])
def test_tags_with_an_address_it_does_not_speak_from_are_refused(
    mesh: Mesh, rogue: Rogue, address: str
) -> None:
    watch = Watch(mesh)
    rogue.order(tags=tags(some_key(), address))
    watch.refused("address_mismatch")


def test_tags_that_make_no_sense_are_refused(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.order(tags=tags("no key", address_of(mesh, "n4")))
    watch.refused("malformed_tags")


def test_forcing_a_living_member_to_leave_takes_nobody_out(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.order(force_leave=["n2"])
    # Past the time after which a forced leave with pruning forgets the member.
    watch.unchanged(8)
    assert [status(mesh, node, "n2") for node in HONEST] == ["alive"] * 3


def test_saying_that_a_living_member_is_dead_and_to_be_forgotten_takes_nobody_out(
    mesh: Mesh, rogue: Rogue
) -> None:
    watch = Watch(mesh)
    for _ in range(3):
        rogue.order(dismiss=["n2", "n3"], targets=[mesh.mesh_address(node) for node in HONEST])
        watch.unchanged(3)
    eventually(
        lambda: [status(mesh, viewer, node) for viewer in HONEST for node in HONEST] == ["alive"] * 9,
        20,
        lambda: f"all are alive: {[mesh.members(node) for node in HONEST]}",
    )


def test_a_new_key_under_its_own_name_is_refused_because_no_bootstrap_node_confirms_it(mesh: Mesh) -> None:
    with rogue_named(mesh, "n4", 7946) as rogue:
        watch = Watch(mesh)
        rogue.order(tags=tags(some_key(), address_of(mesh, "n4")))
        watch.refused("address_bound")
        watch.unchanged(4)


def test_another_s_name_spoken_from_its_own_address_takes_nothing_from_the_other(mesh: Mesh) -> None:
    watch = Watch(mesh)
    with rogue_named(mesh, "n2", 7952) as rogue:
        rogue.order(tags=tags(some_key(), address_of(mesh, "n4")))
        watch.refused("name_conflict", but="n2")
        watch.unchanged(8)
    assert mesh.agents["n2"].runs()
    assert [mesh.members(node)["n2"].addr for node in HONEST] == [mesh.mesh_address("n2")] * 3


def test_doctor_tells_who_speaks_in_gossip_and_was_never_admitted(mesh: Mesh, rogue: Rogue) -> None:
    eventually(lambda: status(mesh, "n1", "n5") == "alive", 20, "gossip has it")
    code, document = doctor(mesh.network.hosts["n1"], "n5")
    assert code == 1
    assert "is not a member here" in finding_of(document, "n5", "not_admitted")["what"]


def test_nobody_is_bound_whom_no_bootstrap_node_vouches_for(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(announcement(some_key(), "10.232.0.77", "n9"))
    watch.refused("admission_missing")
    # Long enough for all members to have queried all bootstrap nodes.
    watch.unchanged(6)


def vouched(signer: tuple[Path, Path, Path], claim: Claim, when: datetime) -> bytes:
    key, certificate, _ = signer
    record = Signer(key.read_bytes(), certificate.read_bytes()).sign(
        "lab", claim.node, claim.public_key, claim.addresses, when
    )
    return peer_message(replace(claim, admission=record)).SerializeToString()


def newcomer(node: str = "n9") -> Claim:
    return Claim(node, some_key(), (ip_address("10.232.0.77"),), (ELSEWHERE,))


def test_the_certificate_of_a_plain_node_admits_nobody(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.announce(vouched(mesh.certificate("n4", Role.NODE), newcomer(), datetime.now(UTC)))
    watch.refused("admission_signer_may_not_admit")


def test_a_record_past_its_time_admits_nobody(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    long_ago = datetime.now(UTC) - timedelta(hours=25)
    rogue.announce(vouched(mesh.certificate("n1", Role.BOOTSTRAP), newcomer(), long_ago))
    watch.refused("admission_expired")


def record_of(mesh: Mesh, node: str) -> AdmissionRecord:
    """As every member has it, and heard it announced."""
    folder = mesh.network.hosts["n1"].disk / mesh.name
    known = members_from_json(load(folder / MEMBERS))
    record = next(binding.claim.admission for binding in known if binding.claim.node == node)
    assert record is not None
    return record


@pytest.mark.parametrize("called", ["n2", "n9"])
def test_another_s_record_admits_no_other_key(mesh: Mesh, rogue: Rogue, called: str) -> None:
    watch = Watch(mesh)
    shown = replace(newcomer(called), admission=record_of(mesh, "n2"))
    rogue.announce(peer_message(shown).SerializeToString())
    watch.refused("admission_mismatch", but="n2" if called == "n2" else "")


def test_times_that_no_cluster_reaches_stop_nobody(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    rogue.order(flood=[(node, mesh.mesh_address(node)) for node in HONEST])
    watch.refused("gossip_implausible_time")
    watch.unchanged(3)
    assert [status(mesh, viewer, node) for viewer in HONEST for node in HONEST] == ["alive"] * 9
    wgmesh(mesh.network.hosts["n2"], "tags", "-set", "after=flood")
    eventually(
        lambda: all("flood" in [tag.value for tag in mesh.members(node)["n2"].tags] for node in HONEST),
        20,
        lambda: f"n2 is still heard: {[mesh.members(node)['n2'] for node in HONEST]}",
    )
    # Questions and answers are user events, which have a clock of their own.
    asked = wgmesh(mesh.network.hosts["n3"], "rtt").stdout
    assert all(node in asked for node in HONEST)
    # A node that joins now learns of them at incarnations that it accepts from no other member.
    mesh.agents["n3"].kill()
    mesh.agents["n3"].start()
    mesh.agents["n3"].wait_until_ready()
    eventually(
        lambda: [status(mesh, "n3", node) for node in ("n1", "n2")] == ["alive"] * 2,
        20,
        lambda: f"n3 meets the others: {mesh.members('n3')}",
    )


def test_a_replayed_record_does_not_bring_an_old_key_back(mesh: Mesh, rogue: Rogue) -> None:
    old = record_of(mesh, "n3")
    agent = mesh.agents["n3"]
    agent.kill()
    (mesh.network.hosts["n3"].disk / mesh.name / KEY).unlink()
    agent.start()
    agent.wait_until_ready()
    eventually(
        lambda: (
            mesh.members("n1")["n3"].pubkey not in ("", str(old.public_key))
            and str(old.public_key) not in peers(mesh)["n2"]
        ),
        40,
        lambda: f"n3 has a new key: {mesh.members('n1')}",
    )
    watch = Watch(mesh)
    shown = Claim("n3", old.public_key, old.addresses, (ELSEWHERE,), admission=old)
    rogue.announce(peer_message(shown).SerializeToString())
    watch.refused("admission_replayed", but="n3")
    assert not any(pings.lost for pings in mesh.ping_matrix(HONEST).values())


def test_info_shows_how_many_claims_were_refused_and_why(mesh: Mesh, rogue: Rogue) -> None:
    watch = Watch(mesh)
    watch.refused("malformed_announcement", again=lambda: rogue.announce(b"\xff"))
    shown = wgmesh(mesh.network.hosts["n3"], "info").stdout
    refused = next(line for line in shown.splitlines() if line.startswith("Rejected claims of other members"))
    assert "malformed_announcement" in refused
    assert not any(pings.lost for pings in mesh.ping_matrix(HONEST).values())
