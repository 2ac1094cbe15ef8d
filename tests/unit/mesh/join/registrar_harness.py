"""Who comes to a registrar, and the running mesh as it sees that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.membership.claims import Binding, Claim
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import IPAddress, Network
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.meshservice_pb2 import JoinRequest

OWN_KEY = PublicKey(bytes([9]) * 32)
ANYONE = Caller("holder", is_anonymous=True)


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


def request(number: int, node: str = "", **other: object) -> JoinRequest:
    fields: dict[str, object] = {
        "pubkey": str(key(number)),
        "endpointIP": "192.0.2.1",
        "endpointPort": 54540,
        "meshName": "blue",
        "nodeName": node,
    }
    return JoinRequest(**{**fields, **other})  # type: ignore[arg-type]


def certified(node: str, mesh: str = "blue") -> Caller:
    identity = NodeIdentity(mesh, node, Role.NODE)
    return Caller(f"certificate of {node}", identity, str(identity))


class FakeMesh:
    """The running mesh, as a registrar sees it."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.answering: set[PublicKey] = set()
        self.questions: list[PublicKey] = []
        self.while_asked: Callable[[], object] = lambda: None
        self.roster: dict[str, tuple[IPAddress, ...]] | None = None
        self.others: tuple[str, ...] = ()
        self.elsewhere: set[object] = set()
        self.announced: list[tuple[Binding, Binding | None]] = []
        self.taken_back: list[Binding] = []

    def is_alive(self, node: str) -> bool:
        return node in self.alive

    async def is_reachable(self, binding: Binding) -> bool:
        await asyncio.sleep(0)
        self.questions.append(binding.claim.public_key)
        self.while_asked()
        return binding.claim.public_key in self.answering

    def bootstraps(self) -> tuple[str, ...]:
        return ("boot", *self.others)

    def assigned_addresses(self, node: str, caller: Caller) -> tuple[IPAddress, ...] | None:
        if self.roster is None:
            return None
        if node not in self.roster:
            raise Denied(DenialReason.NOT_LISTED, f"{node} is not listed")
        return self.roster[node]

    def allowed_routes(self, node: str, asked: tuple[Network, ...]) -> tuple[Network, ...]:
        return asked[:1]

    async def claim_elsewhere(self, claim: Claim) -> bool:
        await asyncio.sleep(0)
        return not self.elsewhere.intersection(claim.addresses)

    async def on_admitted(self, binding: Binding, replaced: Binding | None) -> None:
        await asyncio.sleep(0)
        self.announced.append((binding, replaced))

    async def on_reservation_expired(self, binding: Binding) -> None:
        self.taken_back.append(binding)


async def admit(
    registrar: Registrar, asked: JoinRequest, caller: Caller = ANYONE, now: float = 0.0
) -> Binding:
    return await registrar.admit(asked, caller, now=now, now_unix=1000.0 + now)
