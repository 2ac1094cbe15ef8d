"""Entering a mesh by one of several bootstrap nodes: tried in turn, with backoff, until one admits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from wgmesh_agent.daemon.jitter import jittered
from wgmesh_agent.daemon.secret_source import SecretSource
from wgmesh_agent.endpoint.own import resolve
from wgmesh_agent.join.client import Admitted, JoinRefused, JoinUnreachable, enter
from wgmesh_agent.join.tls import Credentials
from wgmesh_agent.membership.binding import IPAddress
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.state.records import MeshRecord
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, Network

log = structlog.get_logger()
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0


class CannotEnter(Exception):
    """No bootstrap node let this node in; says what each answered."""


class EndpointTowards(Protocol):
    """Where this node is reached, given the addresses of the bootstrap node it is about to ask."""

    async def __call__(self, towards: Sequence[IPAddress]) -> Endpoint: ...


@dataclass(frozen=True, slots=True)
class Door:
    """How this node enters: whom it asks, and as whom.

    Attributes:
        node: the name to ask for; empty: whatever the mesh makes of the address.
        routes: networks behind this node to ask for.
        secrets: those for pre-shared keys, of which the bootstrap node is told what this node holds.
        replaces: the key that this machine was a member with before this one, until a bootstrap node has accepted that.
        own_key: that of `public_key`, for a proof where the certificate does not name this node.
    """

    bootstraps: tuple[HostPort, ...]
    tls: Credentials | None
    mesh: str
    node: str
    public_key: PublicKey
    routes: tuple[Network, ...] = ()
    replaces: PrivateKey | None = None
    secrets: SecretSource | None = None
    own_key: PrivateKey | None = None


async def enter_mesh(door: Door, endpoint: EndpointTowards, timeout_seconds: float | None) -> Admitted:
    """Tries the bootstrap nodes in turn. One that refuses is not asked again; one that can't be reached is.

    Raises:
        CannotEnter: all refused, or the time ran out.
        wgmesh_agent.endpoint.own.NoEndpoint: this node's own address cannot be told.
    """
    answers: dict[HostPort, str] = {}
    waiting = list(door.bootstraps)
    pause = FIRST_PAUSE_SECONDS
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while waiting:
        for bootstrap in list(waiting):
            try:
                return await enter_by(door, bootstrap, endpoint)
            except JoinRefused as error:
                waiting.remove(bootstrap)
                answers[bootstrap] = f"refused: {error}"
            except JoinUnreachable as error:
                answers[bootstrap] = str(error)
            log.warning("bootstrap node did not let us in", bootstrap=str(bootstrap), why=answers[bootstrap])
        if not waiting or (deadline is not None and time.monotonic() + pause > deadline):
            break
        await asyncio.sleep(jittered(pause))
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
    said = "; ".join(f"{bootstrap} {answer}" for bootstrap, answer in answers.items())
    raise CannotEnter(f"cannot join the mesh {door.mesh}: {said}")


async def enter_by(
    door: Door,
    bootstrap: HostPort,
    endpoint: EndpointTowards,
    before_joining: Callable[[], Awaitable[None]] | None = None,
) -> Admitted:
    """One attempt at one bootstrap node. Raises JoinRefused, JoinUnreachable, NoEndpoint."""
    towards = await resolve(bootstrap.host, bootstrap.port)
    if not towards:
        raise JoinUnreachable(f"the name {bootstrap.host} does not resolve")
    own = await endpoint(towards)
    admitted = await enter(
        str(bootstrap), door.tls, mesh=door.mesh, node=door.node, public_key=door.public_key, endpoint=own,
        routes=door.routes, secret_ids=door.secrets.held.ids if door.secrets else (), replaces=door.replaces,
        own_key=door.own_key, before_joining=before_joining,
    )  # fmt: skip
    given = admitted.admission.routes if admitted.admission else ()
    for route in door.routes:
        if route not in given:
            log.error(
                "route not announced", route=str(route), why="the bootstrap node does not allow it to this node",
                next="set -allow-routes on the bootstrap nodes, restart them, then this agent",
            )  # fmt: skip
    return admitted


def record_of(admitted: Admitted, mesh: str, earlier: MeshRecord | None, *, bootstrap: bool) -> MeshRecord:
    """What to remember of an admission; tags and the time of joining outlive a second one, and so do gossip keys
    that are later than those of whoever admitted: it may have been away itself when they changed.
    """
    ring, since = admitted.gossip_keys, admitted.gossip_keys_since
    if earlier and (
        ring == earlier.gossip_keys
        or (earlier.created_unix == admitted.created_unix and earlier.gossip_keys_since > since)
    ):
        ring, since = earlier.gossip_keys, earlier.gossip_keys_since
    return MeshRecord(
        mesh=mesh,
        node=admitted.node,
        addresses=admitted.addresses,
        ranges=admitted.ranges,
        ipam_ranges=earlier.ipam_ranges if earlier else (),
        created_unix=admitted.created_unix,
        joined_unix=earlier.joined_unix if earlier else int(time.time()),
        gossip_keys=ring,
        gossip_keys_since=since,
        wireguard_key_since=earlier.wireguard_key_since if earlier else 0,
        wireguard_key_token=earlier.wireguard_key_token if earlier else "",
        profile=admitted.profile,
        gossip_port=admitted.gossip_port,
        bootstrap=bootstrap,
        tags=earlier.tags if earlier else {},
        requires_admission=admitted.requires_admission,
        admission=admitted.admission,
        routes=earlier.routes if earlier else (),
    )
