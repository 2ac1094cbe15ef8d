"""Joins a mesh via one of several bootstrap nodes: tries them in turn, with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from wgmesh_agent.linux.name_resolution import NameServiceAway, addresses_of, resolve
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint, has_route_to
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable, join
from wgmesh_agent.mesh.join.start_conditions import Waiting, is_passing
from wgmesh_agent.mesh.membership.mesh_record import MeshRecord
from wgmesh_agent.mesh.psk.secret_file import SecretFile
from wgmesh_agent.runtime.backoff import Backoff, jittered
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network

log = structlog.get_logger()
BACKOFF = Backoff(first_seconds=0.5, longest_seconds=15.0)
KNOCK_SECONDS = 1.0
"""Interval of the checks whether a bootstrap node accepts connections, and the timeout of each."""
EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this time was never set: this program is newer."""


class JoinFailed(Exception):
    """No bootstrap node admitted this node; contains the response of each."""


class CannotTryYet(JoinUnreachable):
    """This machine lacks a prerequisite of a request: an address, a route, a name server, the time of day."""


class EndpointLookup(Protocol):
    """This node's endpoint, given the addresses of the bootstrap node to be called."""

    async def __call__(self, towards: Sequence[IPAddress]) -> Endpoint: ...


@dataclass(frozen=True, slots=True)
class JoinTarget:
    """Parameters of a join: the bootstrap nodes, and this node's identity.

    Attributes:
        node: the requested name; empty: derived from the address by the mesh.
        routes: networks behind this node to request.
        secrets: those for pre-shared keys; their ids are advertised to the bootstrap node.
        replaces: the previous key under which this machine was a member, until a bootstrap node has accepted the new
            one.
        own_key: that of `public_key`, for a proof if the certificate does not name this node.
    """

    bootstraps: tuple[HostPort, ...]
    tls: Credentials | None
    mesh: str
    node: str
    public_key: PublicKey
    routes: tuple[Network, ...] = ()
    replaces: PrivateKey | None = None
    secrets: SecretFile | None = None
    own_key: PrivateKey | None = None


async def join_mesh(door: JoinTarget, endpoint: EndpointLookup, timeout_seconds: float | None) -> JoinResult:
    """Tries the bootstrap nodes in turn. One that denies is not tried again; an unreachable one is.

    Raises:
        JoinFailed: all denied, or the timeout elapsed. It starts when this machine can send a request, and again each
            time that it could not. With a timeout of 0 there is one round.
        wgmesh_agent.mesh.discovery.advertised_endpoint.UnusableEndpoint: this node's own address is not usable by
            others.
    """
    answers: dict[HostPort, str] = {}
    waiting = list(door.bootstraps)
    pause = BACKOFF.first_seconds
    deadline: float | None = None
    async with Waiting() as host:
        while waiting:
            began, could_try = time.monotonic(), False
            for bootstrap in list(waiting):
                if bootstrap not in answers:
                    log.info("requesting admission", bootstrap=str(bootstrap))
                try:
                    return await join_via(door, bootstrap, endpoint)
                except JoinRefused as error:
                    waiting.remove(bootstrap)
                    said, could_try = f"refused: {error}", True
                except JoinUnreachable as error:
                    said, could_try = str(error), could_try or not isinstance(error, CannotTryYet)
                if answers.get(bootstrap) != said:
                    log.warning("join via bootstrap node failed", bootstrap=str(bootstrap), error=said)
                answers[bootstrap] = said
            if not could_try:
                # An address or a route that existed only for a moment: machines boot so.
                deadline = None
            elif deadline is None and timeout_seconds is not None:
                deadline = began + timeout_seconds
            if not waiting or timeout_seconds == 0:
                break
            if deadline is not None and time.monotonic() + pause > deadline:
                break
            await _until_worth_a_try(waiting, host, jittered(pause))
            # A prerequisite that a booting machine waits for may appear at any moment.
            pause = BACKOFF.longer(pause) if could_try else BACKOFF.first_seconds
    said = "; ".join(f"{bootstrap} {answer}" for bootstrap, answer in answers.items())
    raise JoinFailed(f"cannot join the mesh {door.mesh}: {said}")


async def _until_worth_a_try(bootstraps: Sequence[HostPort], host: Waiting, seconds: float) -> None:
    """Returns after the pause, at once when this machine's addresses or routes change, and within a second when a
    bootstrap node that refused connections accepts them.
    """
    deadline = time.monotonic() + seconds
    closed: set[HostPort] | None = None
    while (left := deadline - time.monotonic()) > 0:
        if await host.pause(min(left, KNOCK_SECONDS)) or left <= KNOCK_SECONDS:
            return
        opened = await asyncio.gather(*(_takes_connections(bootstrap) for bootstrap in bootstraps))
        still = {bootstrap for bootstrap, is_open in zip(bootstraps, opened, strict=True) if not is_open}
        if closed is not None and closed - still:
            return
        closed = still


async def _takes_connections(bootstrap: HostPort) -> bool:
    with contextlib.suppress(OSError):
        async with asyncio.timeout(KNOCK_SECONDS):
            for address in await resolve(bootstrap.host, bootstrap.port):
                _, writer = await asyncio.open_connection(str(address), bootstrap.port)
                writer.close()
                return True
    return False


async def join_via(
    door: JoinTarget,
    bootstrap: HostPort,
    endpoint: EndpointLookup,
    before_joining: Callable[[], Awaitable[None]] | None = None,
) -> JoinResult:
    """One attempt at one bootstrap node. Raises JoinRefused, JoinUnreachable, UnusableEndpoint."""
    problem = clock_trouble(datetime.now(UTC)) if door.tls is not None else None
    if problem is not None:
        raise CannotTryYet(problem)
    try:
        towards = await addresses_of(bootstrap.host, bootstrap.port)
    except NameServiceAway as error:
        raise CannotTryYet(str(error)) from error
    if not towards:
        raise JoinUnreachable(f"the name {bootstrap.host} does not resolve")
    if not any(map(has_route_to, towards)):
        raise CannotTryYet(f"this machine has no route to {bootstrap.host}")
    try:
        own = await endpoint(towards)
    except NoUsableEndpoint as error:
        if not is_passing(error):
            raise
        raise CannotTryYet(str(error)) from error
    try:
        admitted = await join(
            str(bootstrap),
            door.tls,
            mesh=door.mesh,
            node=door.node,
            public_key=door.public_key,
            endpoint=own,
            at=towards,
            routes=door.routes,
            secret_ids=door.secrets.current.ids if door.secrets else (),
            replaces=door.replaces,
            own_key=door.own_key,
            before_joining=before_joining,
        )
    except JoinUnreachable as error:
        if not any(map(has_route_to, towards)):
            raise CannotTryYet(str(error)) from error
        raise
    given = admitted.admission.routes if admitted.admission else ()
    for route in door.routes:
        if route not in given:
            log.error(
                "route not advertised",
                route=str(route),
                reason="the bootstrap node does not allow it to this node",
                next="set -allow-routes on the bootstrap nodes, restart them, then this agent",
            )
    return admitted


def clock_trouble(now: datetime) -> str | None:
    """Why no request is possible at this time of day: before a clock is set, no certificate is valid."""
    if now >= EARLIEST:
        return None
    return f"this machine's clock was never set: at {now:%Y-%m-%d %H:%M} no certificate is valid"


async def until_the_clock_is_set() -> None:
    """Waits until certificates can be valid; records signed before would have wrong times."""
    async with Waiting() as waiting:
        while (problem := clock_trouble(datetime.now(UTC))) is not None:
            waiting.say(problem)
            await waiting.pause()


def mesh_record_from(
    admitted: JoinResult, mesh: str, earlier: MeshRecord | None, *, bootstrap: bool
) -> MeshRecord:
    """The mesh record after an admission; tags and the time of joining survive a repeated one, and so do gossip keys
    that are newer than those of the admitting node, which may have been down itself when they were rotated.
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
