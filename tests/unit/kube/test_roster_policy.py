"""The roster's policy is in force as soon as there is a node, independent of other components: nothing here syncs
rosters.

Each test has its counterpart with a policy that admits all nodes, which is the effect of a hook that is not set yet.
"""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from tests.unit.factories import mesh_record
from tests.unit.kube.harness import (
    MADE,
    OWN_KEY,
    MemoryApi,
    claim,
    make_authority,
    mesh_body,
    node_body,
    node_path,
)
from tests.unit.machine import played_platform
from tests.unit.policies import ScriptedKeyPolicy, standalone

from wgmesh_agent.agent.composition import compose
from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.session import Session
from wgmesh_agent.agent.session_end import SessionEnd
from wgmesh_agent.agent.session_start import NodeStart, SessionConfig, SessionStart
from wgmesh_agent.gossip.serf.key_manager import KeyOperation, answer_key_query
from wgmesh_agent.gossip.wire.keyring import encode_key
from wgmesh_agent.gossip.wire.serf_messages import KeyRequest, KeyResponse, decode_serf, encode_serf
from wgmesh_agent.kube.certificate import CertificateStore
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.kube.roster_policy import RosterKeyPolicy, RosterPolicy
from wgmesh_agent.kube.roster_sync import RosterSync
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.join.bootstrap_directory import BootstrapDirectory
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.membership.admission_record import Signer
from wgmesh_agent.mesh.membership.admissions import AdmissionService
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.membership.policy import (
    STALE_ROSTER_SECONDS,
    MembershipPolicy,
    StandalonePolicy,
)
from wgmesh_agent.mesh.membership.tracker import MembershipTracker
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy
from wgmesh_agent.mesh.rotation.service import RotationService
from wgmesh_agent.mesh.rotation.wireguard_key import WireGuardKeyRotation
from wgmesh_agent.runtime.clock import SystemClock
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.mesh_record_store import MeshRecordStore
from wgmesh_agent.state.store import StateStore
from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.certificates import cert_to_pem, generate_key, issue, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import JoinRequest

GOSSIP_KEY, ANOTHER_KEY = bytes(range(32)), bytes([7]) * 32
SITE, OTHER = ip_network("192.168.7.0/24"), ip_network("192.168.8.0/24")
BETA, STRANGER = claim("beta", 2), claim("stranger", 9)


class Ground:
    """The bootstrap node alpha as a cluster's agent is made: with a roster that lists alpha and beta."""

    def __init__(self, folder: Path) -> None:
        self.api = MemoryApi()
        for body in (mesh_body(), node_body(), node_body("beta", 2, routes=[str(SITE)])):
            self.api.put(body)
        self.view = RosterCache("blue", "alpha")
        self.identity = CertificateStore(folder)
        self.identity.save_uid("uid-alpha")
        self.policy = RosterPolicy(self.view, self.identity)
        authority = make_authority()
        key = generate_key()
        certificate = issue(
            authority,
            NodeIdentity("blue", "alpha", Role.BOOTSTRAP),
            key.public_key(),
            now=datetime.now(UTC),
            lifetime=timedelta(days=1),
            serial=7,
        )
        pem = key_to_pem(key), cert_to_pem(certificate)
        self.credentials = Credentials(TLSFiles(*pem, cert_to_pem(authority.cert)))
        self.signer = Signer(*pem)
        self._folder = folder

    def sync(self) -> None:
        self.view.start(self.api)

    def node(self, membership: MembershipPolicy, keys: KeyPolicy | None = None) -> MeshNode:
        """A node that is made, and not started."""
        record = mesh_record(
            node="alpha",
            addresses=(ip_address("10.232.0.1"),),
            bootstrap=True,
            requires_admission=True,
            gossip_keys=(GOSSIP_KEY,),
        )
        endpoint = Endpoint(ip_address("192.0.2.1"), 54540)

        async def lookup(towards: Sequence[IPAddress]) -> Endpoint:
            return endpoint

        start = NodeStart(
            NodeConfig("wgblue", 54540, 1420),
            record,
            OWN_KEY,
            endpoint,
            lookup,
            SessionConfig(HostPort("192.0.2.1", 5000), self.credentials, None),
        )
        return compose(
            start,
            StateStore(self._folder, "blue"),
            SelectedBackend(BackendKind.KERNEL, "a test"),
            replace(standalone(), membership=membership, keys=keys or standalone().keys),
            SessionEnd(),
            played_platform(clock=SystemClock()),
        )

    def recorded(self, member: Claim, moment: datetime) -> Claim:
        """With a record that a bootstrap node signed then."""
        record = self.signer.sign("blue", member.node, member.public_key, member.addresses, moment, ())
        return replace(member, admission=record)


@pytest.fixture
async def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def registrar_of(node: MeshNode) -> Registrar:
    assert node.registrar is not None
    return node.registrar


def certified(node: str) -> Caller:
    return Caller(f"certificate of {node}", NodeIdentity("blue", node, Role.NODE), node, MADE)


def request(member: Claim) -> JoinRequest:
    return JoinRequest(
        pubkey=str(member.public_key),
        endpointIP="192.0.2.9",
        endpointPort=54540,
        meshName="blue",
        nodeName=member.node,
    )


async def test_whoever_is_not_listed_may_neither_begin_nor_join_when_the_port_opens(ground: Ground) -> None:
    ground.sync()
    registrar = registrar_of(ground.node(ground.policy))
    with pytest.raises(Denied) as begun:
        registrar.require_listed(certified("stranger"))
    with pytest.raises(Denied) as joined:
        await registrar.admit(request(STRANGER), certified("stranger"), now=0.0, now_unix=1000.0)
    assert [begun.value.reason, joined.value.reason] == [DenialReason.NOT_LISTED] * 2


async def test_a_standalone_policy_lets_it_begin(ground: Ground) -> None:
    node = ground.node(StandalonePolicy(()))
    registrar_of(node).require_listed(certified("stranger"))


async def test_a_record_older_than_its_member_binds_nobody(ground: Ground) -> None:
    ground.sync()
    node = ground.node(ground.policy)
    assert not node.tracker.accept(ground.recorded(BETA, MADE - timedelta(seconds=1)), Origin.GOSSIP)
    assert node.rejections.counts["admission_replayed"] == 1
    assert node.tracker.accept(ground.recorded(BETA, MADE + timedelta(seconds=1)), Origin.GOSSIP)


async def test_a_standalone_policy_takes_it(ground: Ground) -> None:
    node = ground.node(StandalonePolicy(()))
    assert node.tracker.accept(ground.recorded(BETA, MADE - timedelta(seconds=1)), Origin.GOSSIP)


def installed(node: MeshNode) -> KeyResponse:
    """The answer to another member's query to install a gossip key."""
    payload = encode_serf(KeyRequest(ANOTHER_KEY))
    answer = answer_key_query(
        KeyOperation.INSTALL, payload, node.gossip_keys.keyring, lambda answer: True, changed=lambda: None
    )
    response = decode_serf(answer)
    assert isinstance(response, KeyResponse)
    return response


async def test_no_member_installs_a_gossip_key_before_the_keys_are_first_read(ground: Ground) -> None:
    node = ground.node(ground.policy, RosterKeyPolicy("blue", ScriptedAnnouncer()))
    response = installed(node)
    assert not response.result
    assert "kubectl annotate wgmesh blue wgmesh.dev/rotate-gossip-key" in response.message
    assert node.gossip_keys.keyring is not None
    assert encode_key(ANOTHER_KEY) not in node.gossip_keys.keyring.list()


async def test_with_the_members_own_policy_it_is_installed(ground: Ground) -> None:
    assert installed(ground.node(ground.policy)).result


class ScriptedAnnouncer(ScriptedKeyPolicy):
    """Records the keys that were published in the roster."""

    async def announce_key(self, key: object) -> None:
        self.announced.append(OWN_KEY.public())


async def test_a_key_is_announced_to_the_roster_before_it_is_used() -> None:
    announcer = ScriptedAnnouncer()
    await RosterKeyPolicy("blue", announcer).before_new_key(OWN_KEY.public())
    assert announcer.announced == [OWN_KEY.public()]


async def test_while_the_roster_is_not_known_nobody_joins_and_records_bind(ground: Ground) -> None:
    node = ground.node(ground.policy)
    registrar = registrar_of(node)
    with pytest.raises(Denied, match="try again later") as denied:
        await registrar.admit(request(BETA), certified("beta"), now=0.0, now_unix=1000.0)
    assert denied.value.reason is DenialReason.NOT_LISTED
    assert node.tracker.accept(ground.recorded(STRANGER, datetime.now(UTC)), Origin.GOSSIP)


async def test_an_answer_is_never_older_than_the_roster(ground: Ground) -> None:
    ground.sync()
    assert ground.policy.admits("beta")
    ground.api.remove(node_path("beta"))
    assert not ground.policy.admits("beta")
    ground.api.put(node_body("beta", 2))
    assert ground.policy.admits("beta")


async def test_routes_are_those_of_the_roster_or_for_the_unknown_those_there_were(ground: Ground) -> None:
    ground.sync()
    assert ground.policy.allowed_routes("beta", (OTHER,)) == (SITE,)
    assert ground.policy.allowed_routes("nobody", (OTHER,)) == (OTHER,)
    assert not ground.policy.takes_routes_from_claims()


@pytest.mark.parametrize(
    "made",
    [
        Session.__init__,
        MeshNode.__init__,
        SessionStart.__init__,
        Policies.__init__,
        MeshRecordStore.__init__,
        RotationService.__init__,
        WireGuardKeyRotation.__init__,
        RosterSync.__init__,
    ],
    ids=lambda made: made.__qualname__,
)
def test_no_policy_has_a_default(made: Callable[..., object]) -> None:
    kinds = {MembershipPolicy, KeyPolicy, BootstrapDirectory, Policies, RosterPolicy}
    hints = typing.get_type_hints(made)
    parameters = [p for p in inspect.signature(made).parameters.values() if hints.get(p.name) in kinds]
    assert parameters
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters)


@pytest.mark.parametrize(
    "made",
    [AdmissionService.__init__, MembershipTracker.__init__, Session.__init__, compose],
    ids=lambda made: made.__qualname__,
)
def test_nothing_is_made_without_a_policy(made: Callable[..., object]) -> None:
    parameters = inspect.signature(made).parameters
    (policy,) = [one for name, one in parameters.items() if name in ("policy", "policies")]
    assert policy.default is inspect.Parameter.empty


async def test_doctor_is_told_of_components_that_are_down_and_of_a_roster_that_nobody_confirmed(
    ground: Ground,
) -> None:
    failed = asyncio.Event()

    async def fails() -> None:
        failed.set()
        raise OSError("no room")

    node = ground.node(ground.policy)
    node.tasks.keep(fails, "probe")
    await failed.wait()
    examiner = node.facts
    before = (await examiner.collect("")).own
    assert [(one.name, one.why) for one in before.down] == [("probe", "OSError('no room')")]
    assert before.rosterMsecAgo == -1
    ground.sync()
    assert 0 <= (await examiner.collect("")).own.rosterMsecAgo < STALE_ROSTER_SECONDS * 1000
    await node.tasks.stop()


async def test_a_mesh_without_a_roster_has_none_that_could_be_old(ground: Ground) -> None:
    examiner = ground.node(StandalonePolicy(())).facts
    assert not (await examiner.collect("")).own.HasField("rosterMsecAgo")
