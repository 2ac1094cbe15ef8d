"""This node: its mesh record, key and endpoint. The single source of each of these values."""

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
"""Interval of packets that keep a NAT's mapping open: many expire after 30 s (RFC 4787 section 4.3 requires 120)."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Constant properties of a running node.

    Attributes:
        interface: the name of the WireGuard interface.
        mtu: of the interface, in bytes.
        keepalive_seconds: as configured; None: as NAT requires.
        endpoint_is_fixed: the endpoint is configured, or from a STUN server: it is advertised whatever members observe.
        relays: members that may relay, best first.
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
        """The current record."""

    def set(self, value: MeshRecord) -> None:
        """Visible at once; durable with the next `persist`."""

    def replace(self, value: MeshRecord) -> None:
        """Durable first, then visible. Raises OSError: nothing has changed."""

    def persist(self) -> None:
        """Writes it. Raises OSError. For the event loop or a thread."""

    def persist_if_possible(self) -> None:
        """Writes it; a full disk is logged."""


class TagsTooLarge(GossipError):
    """The changed tags would not fit into a gossip message."""


class LocalNode:
    """This node's current properties. Not thread-safe, except `persist`. `changed` announces every change, without its
    kind.
    """

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
            endpoint: where peers reach this node, as known at start.
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
            log.error(
                "secret ids do not fit into gossip tags",
                reason="the tags are too large",
                next="no pre-shared key is used; set fewer tags",
            )
            self._secret_ids = ()

    @property
    def record(self) -> MeshRecord:
        """The current mesh record."""
        return self._store.value

    @property
    def node(self) -> str:
        """Its name."""
        return self.record.node

    @property
    def listen_port(self) -> int:
        """WireGuard's UDP port."""
        return self.config.listen_port

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """Its mesh addresses, the primary one first."""
        return self.record.addresses

    @property
    def ranges(self) -> tuple[Network, ...]:
        """The mesh's ranges, the primary one first."""
        return self.record.ranges

    @property
    def probe_port(self) -> int:
        """UDP, on the mesh address, next to gossip."""
        return self.record.gossip_port + 1

    @property
    def private_key(self) -> PrivateKey:
        """The key that its tunnels use."""
        return self._private_key

    @property
    def public_key(self) -> PublicKey:
        return self._private_key.public()

    @property
    def endpoint(self) -> Endpoint:
        """Its advertised endpoint."""
        return self._endpoint

    @property
    def behind_nat(self) -> bool:
        """Whether peers observe it at an endpoint other than its own."""
        return self._behind_nat

    @property
    def keepalive_seconds(self) -> int | None:
        """Persistent keepalive of its tunnels; 0: disabled. None: not known yet whether it is needed; the current one
        stays.
        """
        if self.config.keepalive_seconds is not None:
            return self.config.keepalive_seconds
        return self._keepalive

    @property
    def routes(self) -> tuple[Network, ...]:
        """The networks behind this node that the mesh granted to it."""
        return self._routes

    @property
    def secret_ids(self) -> tuple[bytes, ...]:
        """Of the pre-shared secrets that it advertises, the newest first."""
        return self._secret_ids

    def claim(self) -> Claim:
        """Its own claim, with the key that its tunnels use."""
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
        """Its own tags in gossip: a key only once the mesh has accepted it."""
        said = replace(self.claim(), public_key=self._announced_key)
        return own_tags(said, self.record.tags, probe_port=self.probe_port)

    def use_key(self, private_key: PrivateKey) -> None:
        """Its tunnels use another key from now on; gossip advertises it only after `announce_key`."""
        self._private_key = private_key
        self._changed.notify()

    def announce_key(self) -> None:
        """The mesh has accepted the key in use."""
        self._announced_key = self.public_key
        self._changed.notify()

    def move(self, endpoint: Endpoint) -> None:
        """Changes its advertised endpoint. Raises TagsTooLarge: nothing has changed."""
        before, self._endpoint = self._endpoint, endpoint
        if not self._fits():
            self._endpoint = before
            raise TagsTooLarge(f"the tags have no room for the endpoint {endpoint}")
        self._changed.notify()

    def set_behind_nat(self, behind_nat: bool) -> None:
        """Sets whether it is behind NAT: then its tunnels need a keepalive."""
        self._behind_nat = behind_nat
        self._keepalive = NAT_KEEPALIVE_SECONDS if behind_nat else 0
        self._changed.notify()

    def advertise_routes(self, routes: tuple[Network, ...]) -> None:
        """The mesh grants it these networks instead of the previous ones."""
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
                raise TagRejected(f"the tag {key!r} is reserved: tags that start with '_' belong to wgmesh")
        before = self.record
        self._store.set(replace(before, tags=tags))
        if not self._fits():
            self._store.set(before)
            raise TagRejected("the tags are too large: they do not fit into a gossip message")
        self._changed.notify()

    def update_record(self, **changes: Any) -> None:
        """Changes fields of the record: visible at once, durable with the next `persist`."""
        self._store.set(replace(self.record, **changes))
        self._changed.notify()

    def replace_record(self, record: MeshRecord) -> None:
        """Durable first, then visible. Raises OSError: nothing has changed."""
        self._store.replace(record)
        self._changed.notify()

    def persist(self) -> None:
        """Writes the current record. For the event loop or a thread. Raises OSError."""
        self._store.persist()

    def persist_if_possible(self) -> None:
        """Like `persist`; a full disk is only logged, because the mesh is already on disk from before."""
        self._store.persist_if_possible()

    def _fits(self) -> bool:
        try:
            encode_tags(self.tags())
        except GossipError:
            return False
        return True
