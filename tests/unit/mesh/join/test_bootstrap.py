"""The Mesh service on its port: there between start and stop, and a port that is taken is said with its use."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import grpc
import pytest
from tests.unit.clock import TestClock
from tests.unit.local import LocalClaim, local_node
from tests.unit.mesh.join.server_harness import BOOT_RECORD, BOOTSTRAP_KEY, OWN, QuietMesh, Unsigned

from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.bootstrap import BootstrapServer
from wgmesh_agent.mesh.join.registrar import Registrar
from wgmesh_agent.mesh.join.server import MeshService
from wgmesh_agent.mesh.join.tokens import TokenStore, new_token
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.settings.model import HostPort
from wgmesh_api.meshservice_pb2 import HandshakeRequest, HandshakeResponse
from wgmesh_api.meshservice_pb2_grpc import MeshStub

RANGES = (ip_network("10.232.0.0/16"),)


@pytest.fixture
def server() -> BootstrapServer:
    ledger = Ledger(LocalClaim(OWN.node, OWN.public_key, OWN.addresses, RANGES))
    service = MeshService(
        local_node(BOOT_RECORD, BOOTSTRAP_KEY),
        Registrar("blue", ledger, AddressAllocator(RANGES), QuietMesh()),
        TokenStore(new_token),
        Unsigned(),
        RejectionLog(),
        TestClock(),
    )
    return BootstrapServer(service, None)


@pytest.fixture
def bind() -> HostPort:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return HostPort("127.0.0.1", port)


async def begin(bind: HostPort, mesh: str = "blue") -> HandshakeResponse:
    async with grpc.aio.insecure_channel(str(bind)) as channel:
        stub = MeshStub(channel)  # type: ignore[no-untyped-call]
        answer: HandshakeResponse = await stub.Begin(HandshakeRequest(meshName=mesh), timeout=10)
        return answer


async def test_joiners_are_served_until_it_is_stopped(server: BootstrapServer, bind: HostPort) -> None:
    await server.start(bind)
    try:
        begun = await begin(bind)
        assert begun.result == HandshakeResponse.OK
        assert begun.joinToken
        other = await begin(bind, "green")
        assert "a mesh other than 'green'" in other.errorMessage
    finally:
        await server.stop()
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await begin(bind)
    await server.stop()


async def test_a_port_that_is_taken_is_said_with_what_it_is_for(
    server: BootstrapServer, bind: HostPort
) -> None:
    with (
        socket.create_server((bind.host, bind.port)),
        pytest.raises(OSError, match=r"admission of members; -grpc-bind-port"),
    ):
        await server.start(bind)
    await server.start(bind)
    await server.stop()
