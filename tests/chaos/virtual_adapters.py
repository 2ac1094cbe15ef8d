"""Where the agent's code touches the real world, and what it touches in virtual time instead.

Everything else is the agent as it ships: session, node, membership, reconciler, gossip joiner, admissions, dispute
resolver, state store, the Mesh service and its client. A node takes its machine as a `Platform`; what has no such port
yet (the Mesh service's gRPC, the join before there is a node) is replaced by the list of `_replaced`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import grpc
import jwt.api_jwt
import structlog
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.chaos.machine import Machine, VirtualSocket, current
from tests.chaos.streams import VirtualStreams
from tests.chaos.virtual_loop import VirtualClock, VirtualLoop, virtual_clocks

from wgmesh_agent.agent import launch
from wgmesh_agent.agent.platform import Platform
from wgmesh_agent.control import server
from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.memberlist.senders import Vouching
from wgmesh_agent.gossip.wire.endpoint import Endpoint as GossipEndpoint
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.linux.address_monitor import HostChange
from wgmesh_agent.linux.route_lookup import UnderlayRoute
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_agent.mesh.join import bootstrap, client, joiner, start_conditions
from wgmesh_agent.mesh.join.server import MeshService
from wgmesh_agent.mesh.membership import admission_record
from wgmesh_agent.state import store
from wgmesh_agent.wireguard.model import Endpoint, IPAddress
from wgmesh_api.meshservice_pb2 import Empty, HandshakeRequest, JoinRequest, Peer

SLOWEST_SEGMENT_SECONDS = 20.0
UNDERLAY_MTU = 1500


class VirtualGossip(GossipNode):
    """The real node on a virtual socket."""

    def __init__(
        self, config: SerfConfig, *, keyring: Keyring | None, vouching: Vouching | None = None
    ) -> None:
        life = current()
        ground = life.machine.ground
        super().__init__(
            config,
            keyring=keyring,
            clock=ground.loop.time,
            rng=random.Random(ground.rng.getrandbits(64)),
            vouching=vouching,
        )
        self._life = life
        self._virtual = VirtualStreams(
            self._core, ground.loop.time, self._flush, str(config.address), self._segment
        )
        self._links = self._virtual  # type: ignore[assignment]

    async def _bind(self) -> None:
        self._udp = VirtualSocket(self.port, self._datagram)  # type: ignore[assignment]
        self._life.machine.streams = self._life, self._virtual

    def _datagram(self, data: bytes, source: tuple[str, int]) -> None:
        self._core.receive_datagram(data, GossipEndpoint(ip_address(source[0]), source[1]), self._clock())
        self._flush()

    def _segment(self, target: IPAddress, message: object) -> None:
        if not self._life.is_dead:
            self._life.machine.send(target, message)


@dataclass(frozen=True, slots=True)
class _Server:
    """In place of a gRPC server."""

    machine: Machine | None = None

    async def stop(self, _grace: float) -> None:
        if self.machine is not None and not current().is_dead:
            self.machine.service = None


async def _serve_mesh(service: MeshService, _bind: str, _tls: Credentials | None) -> _Server:
    machine = current().machine
    machine.service = service
    return _Server(machine)


async def _serve_agent(*_: object) -> _Server:
    return _Server()


class _Channel:
    """To the machine at an address, as the process that opened it."""

    def __init__(self, target: str, tls: Credentials | None, _at: Sequence[IPAddress] = ()) -> None:
        self.life = current()
        self.target = ip_address(target.rpartition(":")[0])
        self.tls = tls

    async def __aenter__(self) -> _Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


class _Context:
    """What the service may ask of a call."""

    def __init__(self, channel: _Channel, metadata: Sequence[tuple[str, str]]) -> None:
        self._channel = channel
        self._metadata = metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        tls = self._channel.tls
        return {} if tls is None else {"x509_pem_cert": [tls.files.certificate]}

    def peer(self) -> str:
        return f"ipv4:{self._channel.life.machine.address}:1024"

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise _error(code, details)


class _Stub:
    """In place of `MeshStub`: a call needs the path both ways, and a service at its end."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    async def Begin(self, request: HandshakeRequest, *, timeout: float) -> Any:
        return await self._call(lambda service, context: service.Begin(request, context), timeout)

    async def Join(self, request: JoinRequest, *, timeout: float, metadata: Sequence[tuple[str, str]]) -> Any:
        return await self._call(lambda service, context: service.Join(request, context), timeout, metadata)

    async def Peers(self, request: Empty, *, timeout: float) -> AsyncIterator[Peer]:
        async def all_of_them(service: MeshService, context: Any) -> list[Peer]:
            return [peer async for peer in service.Peers(request, context)]

        for peer in await self._call(all_of_them, timeout):
            yield peer

    async def _call(
        self,
        method: Callable[[MeshService, Any], Awaitable[Any]],
        timeout: float,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Any:
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, metadata)
        except TimeoutError as error:
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED, "deadline exceeded") from error

    async def _exchange(
        self, method: Callable[[MeshService, Any], Awaitable[Any]], metadata: Sequence[tuple[str, str]]
    ) -> Any:
        here = self._channel.life.machine
        ground = here.ground
        there = ground.name_at(self._channel.target)
        await self._segments(4)
        machine = ground.machine(there) if there is not None else None
        service = machine.service if machine is not None else None
        if machine is None or service is None or machine.life is None:
            raise _error(grpc.StatusCode.UNAVAILABLE, "connection refused")

        async def work() -> Any:
            return await method(service, _Context(self._channel, metadata))

        task = machine.life.task(work())
        await asyncio.wait([task])
        if task.cancelled():
            raise _error(grpc.StatusCode.UNAVAILABLE, "socket closed")
        result = task.result()
        await self._segments(2)
        return result

    async def _segments(self, count: int) -> None:
        """Goes to and fro; a lost segment shows as delay, a cut as silence."""
        here = self._channel.life.machine
        underlay = here.ground.underlay
        there = here.ground.name_at(self._channel.target)
        if there is None:
            raise _error(grpc.StatusCode.UNAVAILABLE, "no route to host")
        for number in range(count):
            pause = 1.0 if number == 0 else 0.2
            while not (underlay.passes(here.name, there) and underlay.passes(there, here.name)) or (
                not underlay.is_plugged(there) or here.ground.rng.random() < underlay.weather.loss
            ):
                await asyncio.sleep(pause)
                pause = min(SLOWEST_SEGMENT_SECONDS, 2 * pause)
            await asyncio.sleep(underlay.delay())


def _error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)


async def _host_stays() -> AsyncIterator[HostChange]:
    await asyncio.get_running_loop().create_future()
    yield HostChange()


async def _interface_stays(_: str) -> AsyncIterator[None]:
    await asyncio.get_running_loop().create_future()
    yield


async def _never(*_: object) -> bool:
    return False


async def _own_endpoint(*_: object) -> Endpoint:
    return current().machine.endpoint


async def _resolve(host: str, _port: int) -> list[IPAddress]:
    return [ip_address(host)]


class _Interfaces:
    async def reachable(self) -> list[tuple[str, IPAddress]]:
        return [("eth0", current().machine.endpoint.address)]

    candidates = reachable


async def _no_networks(**_: object) -> tuple[()]:
    return ()


def _route(_destination: IPAddress) -> UnderlayRoute:
    return UnderlayRoute(current().machine.endpoint.address, UNDERLAY_MTU)


class _NoFirewall:
    """In the place of `nft`, on machines without nftables."""

    def is_installed(self) -> bool:
        return False

    async def run(self, *_: str, text: str = "") -> str:
        raise AssertionError(f"there is no nft to run {text}")


class _NoRules:
    """In place of `forwarding_rules`, on machines that route nothing through."""

    def is_restricted(self, *_: object) -> bool:
        return False

    def restrict_forwarding(self, *_: object, **__: object) -> None:
        """Nothing is restricted."""

    def lift_restriction(self, *_: object) -> None:
        """Nothing was."""


def _knock(addresses: Iterable[IPAddress]) -> None:
    life = current()
    if not life.is_dead:
        life.machine.knock(addresses)


class _Log:
    """Keeps what agents say, with the time and whose it is."""

    def __init__(self, loop: VirtualLoop, lines: list[str]) -> None:
        self._loop = loop
        self._lines = lines

    def __call__(self, _logger: object, method: str, event: Any) -> Any:
        with contextlib.suppress(LookupError):
            words = " ".join(f"{name}={value}" for name, value in event.items() if name != "event")
            said = f"{event['event']} {words}".rstrip()
            self._lines.append(f"{self._loop.now:9.3f} {current().machine.name} {method}: {said}")
        raise structlog.DropEvent


def virtual_platform(loop: VirtualLoop, rng: random.Random) -> Platform:
    """The machine whose code runs."""
    return Platform(
        clock=VirtualClock(loop),
        rng=lambda: random.Random(rng.getrandbits(64)),
        gossip=VirtualGossip,
        addresses=_Interfaces(),
        host_changes=_host_stays,
        interface_monitor=_interface_stays,
        route=_route,
        connected_networks=_no_networks,
        trigger_handshakes=_knock,
        forwarding_rules=_NoRules(),
        nft=_NoFirewall(),
        net=Path("/nonexistent"),
    )


def _replaced(loop: VirtualLoop, rng: random.Random) -> Iterator[tuple[object, str, object]]:
    clock, moment = virtual_clocks(loop)
    for name, module in sorted(sys.modules.items()):
        if name.startswith("wgmesh_agent."):
            if isinstance(getattr(module, "time", None), ModuleType):
                yield module, "time", clock
            if getattr(module, "datetime", None) is datetime:
                yield module, "datetime", moment
    yield jwt.api_jwt, "datetime", moment
    yield bootstrap, "serve", _serve_mesh
    yield server, "serve", _serve_agent
    yield client, "_channel", _Channel
    yield client, "MeshStub", _Stub
    yield start_conditions, "host_changes", _host_stays
    yield joiner, "_takes_connections", _never
    yield joiner, "addresses_of", _resolve
    yield joiner, "has_route_to", lambda address: True
    yield launch, "endpoint_of", _own_endpoint
    # Signatures differ in length randomly, and with it the content of a packet.
    yield admission_record, "_ECDSA", ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    yield store, "urandom", rng.randbytes


@contextlib.contextmanager
def virtual_world(loop: VirtualLoop, rng: random.Random, log: list[str]) -> Iterator[None]:
    """While it lasts, agents live in this loop's time, and chance is `rng`'s."""
    state, configured = random.getstate(), structlog.get_config()
    random.seed(rng.getrandbits(64))
    structlog.configure(processors=[_Log(loop, log)], wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with contextlib.ExitStack() as stack:
            for module, name, instead in _replaced(loop, rng):
                stack.enter_context(patch.object(module, name, instead))
            yield
    finally:
        structlog.configure(**configured)
        random.setstate(state)
