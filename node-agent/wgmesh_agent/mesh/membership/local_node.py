"""This node: its record, its key, where others reach it. One home for each fact; who needs one reads it here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.gossip.wire.tags import encode_tags
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.membership.tags import TagRejected, is_reserved, own_tags
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network

log = structlog.get_logger()
NAT_KEEPALIVE_SECONDS = 25
"""Between packets that keep a NAT's mapping: many forget it after 30 s (RFC 4787 section 4.3 asks for 120)."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What does not change while a node runs.

    Attributes:
        interface: the name of the WireGuard interface.
        mtu: the interface's, in bytes.
        keepalive_seconds: as the user set it; None: as NAT needs it.
        endpoint_is_fixed: the endpoint was set, or told by a STUN server: it is advertised whatever others observe.
        relays: members that may carry traffic between others, best first.
    """

    interface: str
    listen_port: int
    mtu: int
    keepalive_seconds: int | None = None
    endpoint_is_fixed: bool = False
    relays: tuple[str, ...] = ()


class RecordStore(Protocol):
    """The mesh record, and its durable copy."""

    @property
    def value(self) -> MeshRecord:
        """As it is now."""

    def set(self, value: MeshRecord) -> None:
        """Visible at once; durable with the next `persist`."""

    def replace(self, value: MeshRecord) -> None:
        """Durable first, then visible. Raises OSError: nothing has changed."""

    def persist(self) -> None:
        """Raises OSError. For the loop or a thread."""

    def persist_if_possible(self) -> None:
        """A full disk is logged."""


class TagsTooLarge(GossipError):
    """The tags with what is new would not fit into a gossip message."""


class LocalNode:
    """Not thread-safe, but for `persist`. Every change is announced by `changed`, without saying what changed."""

    def __init__(
        self,
        config: NodeConfig,
        store: RecordStore,
        private_key: PrivateKey,
        endpoint: Endpoint,
        changed: Signal,
        *,
        secret_ids: tuple[bytes, ...] = (),
    ) -> None:
        """
        Args:
            endpoint: where others reach this node, as far as it knows at its start.
            secret_ids: of the pre-shared secrets that it holds, the newest first.
        """
        self.config = config
        self._store = store
        self._private_key = private_key
        self._announced_key = private_key.public()
        self._endpoint = endpoint
        self._keepalive: int | None = None
        self._changed = changed
        self._behind_nat = False
        record = store.value
        self._routes = record.admission.routes if record.admission is not None else record.routes
        self._secret_ids = secret_ids
        if secret_ids and not self._fits():
            log.error("secret ids do not fit into gossip tags", reason="the tags are too large",
                      next="no pre-shared key is used; set fewer tags")  # fmt: skip
            self._secret_ids = ()

    @property
    def record(self) -> MeshRecord:
        """The mesh as this node is part of it now."""
        return self._store.value

    @property
    def node(self) -> str:
        """Its name."""
        return self.record.node

    @property
    def listen_port(self) -> int:
        """WireGuard's."""
        return self.config.listen_port

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its mesh addresses, the primary one first."""
        return self.record.addresses

    @property
    def ranges(self) -> tuple[Network, ...]:
        """The mesh's, the primary one first."""
        return self.record.ranges

    @property
    def probe_port(self) -> int:
        """UDP, on the mesh address, beside gossip."""
        return self.record.gossip_port + 1

    @property
    def private_key(self) -> PrivateKey:
        """The one that its tunnels use."""
        return self._private_key

    @property
    def public_key(self) -> PublicKey:
        return self._private_key.public()

    @property
    def endpoint(self) -> Endpoint:
        """Where others reach it."""
        return self._endpoint

    @property
    def behind_nat(self) -> bool:
        """Whether others observe it at another endpoint than it has."""
        return self._behind_nat

    @property
    def keepalive_seconds(self) -> int | None:
        """Of its tunnels; 0: none. None: not known yet whether any is needed, and those that are there stay."""
        if self.config.keepalive_seconds is not None:
            return self.config.keepalive_seconds
        return self._keepalive

    @property
    def routes(self) -> tuple[Network, ...]:
        """The networks behind this node that the mesh gave it."""
        return self._routes

    @property
    def secret_ids(self) -> tuple[bytes, ...]:
        """Of the pre-shared secrets that it tells others it holds, the newest first."""
        return self._secret_ids

    def claim(self) -> Claim:
        """What it says of itself, with the key that its tunnels use."""
        return Claim(
            self.node,
            self.public_key,
            self.addresses,
            (self._endpoint,),
            self.record.bootstrap,
            routes=self._routes,
            secret_ids=self._secret_ids,
        )

    def tags(self) -> dict[str, str]:
        """What it says of itself in gossip: a key only once the mesh has accepted it."""
        said = replace(self.claim(), public_key=self._announced_key)
        return own_tags(said, self.record.tags, probe_port=self.probe_port)

    def use_key(self, private_key: PrivateKey) -> None:
        """Its tunnels use another key from now on; gossip is not told before `announce_key`."""
        self._private_key = private_key
        self._changed.notify()

    def announce_key(self) -> None:
        """The mesh has accepted the key in use."""
        self._announced_key = self.public_key
        self._changed.notify()

    def move(self, endpoint: Endpoint) -> None:
        """Others reach it elsewhere now. Raises TagsTooLarge: nothing has changed."""
        before, self._endpoint = self._endpoint, endpoint
        if not self._fits():
            self._endpoint = before
            raise TagsTooLarge(f"the tags have no room for the endpoint {endpoint}")
        self._changed.notify()

    def set_behind_nat(self, behind_nat: bool) -> None:
        """Others observe it behind NAT, or not: its tunnels need a keepalive for that, or none."""
        self._behind_nat = behind_nat
        self._keepalive = NAT_KEEPALIVE_SECONDS if behind_nat else 0
        self._changed.notify()

    def advertise_routes(self, routes: tuple[Network, ...]) -> None:
        """The mesh gives it these networks instead of those before."""
        if routes != self._routes:
            log.info("advertised routes changed", routes=[str(route) for route in routes])
            self._routes = routes
            self._changed.notify()

    def set_secret_ids(self, ids: tuple[bytes, ...]) -> None:
        """Raises TagsTooLarge: nothing has changed."""
        before, self._secret_ids = self._secret_ids, ids
        if not self._fits():
            self._secret_ids = before
            raise TagsTooLarge("the tags have no room for the ids of all pre-shared secrets")
        self._changed.notify()

    def set_user_tags(self, tags: dict[str, str]) -> None:
        """Visible at once; durable with the next `persist`.

        Raises:
            TagRejected: one is reserved, or they are too large together; nothing has changed.
        """
        for key in tags:
            if not key or is_reserved(key):
                raise TagRejected(f"the tag {key!r} is reserved: tags that start with '_' are the mesh's own")
        before = self.record
        self._store.set(replace(before, tags=tags))
        if not self._fits():
            self._store.set(before)
            raise TagRejected("the tags are too large: no gossip message has room for them")
        self._changed.notify()

    def update_record(self, **changes: Any) -> None:
        """Other values for fields of the record: visible at once, durable with the next `persist`."""
        self._store.set(replace(self.record, **changes))
        self._changed.notify()

    def replace_record(self, record: MeshRecord) -> None:
        """Durable first, then visible. Raises OSError: nothing has changed."""
        self._store.replace(record)
        self._changed.notify()

    def persist(self) -> None:
        """Writes the record as it is. For the loop or a thread. Raises OSError."""
        self._store.persist()

    def persist_if_possible(self) -> None:
        """As `persist`; a full disk is logged, and ends nobody whose mesh is remembered from before."""
        self._store.persist_if_possible()

    def _fits(self) -> bool:
        try:
            encode_tags(self.tags())
        except GossipError:
            return False
        return True
