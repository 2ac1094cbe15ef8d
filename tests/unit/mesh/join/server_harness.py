"""The mesh behind a Mesh service, its authority, and who joins there."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass
from ipaddress import ip_address

from tests.unit.factories import make_authority, mesh_record

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.credentials import Credentials, TLSFiles
from wgmesh_agent.mesh.join.client import join
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.membership.claims import Binding, Claim
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network
from wgmesh_api.certificates import (
    cert_to_pem,
    generate_key,
    issue,
    key_to_pem,
)
from wgmesh_api.identity import NodeIdentity, Role

BOOTSTRAP_KEY = PrivateKey.generate(lambda size: bytes([9]) * size)
OWN = Claim(
    "boot",
    BOOTSTRAP_KEY.public(),
    (ip_address("10.232.1.1"),),
    (Endpoint(ip_address("192.0.2.9"), 54540),),
    True,
    secret_ids=(b"bbbb",),
)
DELETED = "deleted"
GOSSIP_KEY = bytes(range(32))
OLD_KEY = bytes([9]) * 32
BOOT_RECORD = mesh_record(
    node="boot",
    addresses=OWN.addresses,
    created_unix=1234,
    gossip_keys=(GOSSIP_KEY, OLD_KEY),
    gossip_keys_since=17,
    bootstrap=True,
)
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class QuietMesh:
    def is_alive(self, node: str) -> bool:
        return False

    async def is_reachable(self, binding: Binding) -> bool:
        return False

    def bootstraps(self) -> tuple[str, ...]:
        return ("boot",)

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        if node == DELETED:
            raise Denied(DenialReason.NOT_LISTED, f"the roster has no member {node}")
        return None

    def allowed_routes(self, node: str, asked: tuple[Network, ...]) -> tuple[Network, ...]:
        return asked[:1]

    async def claim_elsewhere(self, claim: Claim) -> bool:
        return True

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        return None

    async def on_reservation_expired(self, binding: Binding) -> None:
        return None


@dataclass
class Bench:
    address: str
    tls: bool
    rejections: RejectionLog
    ledger: Ledger
    credentials: Credentials | None = None

    def denials(self) -> dict[DenialReason, int]:
        """How many joins were denied for each reason."""
        counts = self.rejections.counts
        return {one: counts[f"join_{one.value}"] for one in DenialReason if counts[f"join_{one.value}"]}


class Unsigned:
    """A mesh without admission records."""

    required = False

    def local_record(self) -> Claim:
        return OWN

    def record_for_peer(self, claim: Claim) -> Claim:
        return claim


class Authority:
    def __init__(self, mesh: str = "blue") -> None:
        self.ca = make_authority(mesh, now=NOW, lifetime=DAY)
        self._serials = itertools.count(2)

    def files(
        self, node: str, role: Role = Role.NODE, mesh: str = "blue", dns_name: str | None = None
    ) -> TLSFiles:
        """Made out to the loopback address, or to `dns_name` alone."""
        key = generate_key()
        cert = issue(
            self.ca,
            NodeIdentity(mesh, node, role),
            key.public_key(),
            now=NOW,
            lifetime=DAY,
            serial=next(self._serials),
            addresses=[] if dns_name else [ip_address("127.0.0.1")],
            dns_names=[dns_name] if dns_name else [],
        )
        return TLSFiles(key_to_pem(key), cert_to_pem(cert), cert_to_pem(self.ca.cert))

    def credentials(self, node: str, role: Role = Role.NODE) -> Credentials:
        return Credentials(self.files(node, role))


def files(bench: Bench, authority: Authority, node: str) -> Credentials | None:
    return authority.credentials(node) if bench.tls else None


async def request_join(  # type: ignore[no-untyped-def]
    bench: Bench, tls: Credentials | None, number: int = 1, node: str = "", mesh: str = "blue"
):
    return await join(
        bench.address,
        tls,
        mesh=mesh,
        node=node,
        public_key=PublicKey(number.to_bytes(32, "big")),
        endpoint=Endpoint(ip_address("192.0.2.1"), 54540),
    )
