"""The gRPC side of a peer of the original wgmesh, run inside a lab host: it knows the fixed fields alone.

`join SERVICE MESH NODE PUBKEY ENDPOINT PORT KEY CERTIFICATE AUTHORITY` joins and prints a JSON object of what it read.
`serve BIND MESH INTERFACE OWN-PUBKEY OWN-ENDPOINT OWN-PORT GOSSIP-KEY KEY CERTIFICATE AUTHORITY` is a bootstrap node
with the mesh address 10.232.1.1: it gives out 10.232.0.1, 10.232.0.2 and so on, and makes the joiner a peer with `wg`.
"""

import itertools
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import jwt

from wgmesh_api.meshservice_pb2 import (
    Empty,
    HandshakeRequest,
    HandshakeResponse,
    JoinRequest,
    JoinResponse,
    Peer,
)
from wgmesh_api.meshservice_pb2_grpc import MeshServicer, MeshStub, add_MeshServicer_to_server

LAST_FIXED_NUMBER = 15


def known(message: Any) -> dict[str, Any]:
    """A message's fields as the original reads them: whatever is newer it never sees."""
    return {
        field.name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if field.number <= LAST_FIXED_NUMBER
    }


def bearer(token: str) -> str:
    now = int(time.time())
    return f"Bearer: {jwt.encode({'iat': now, 'nbf': now, 'exp': now + 10, 'sub': ''}, token, algorithm='HS256')}"


def join(service: str, mesh: str, node: str, pubkey: str, endpoint: str, port: str, *tls: str) -> None:
    key, certificate, authority = (Path(file).read_bytes() for file in tls)
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(service, credentials) as channel:
        stub = MeshStub(channel)  # type: ignore[no-untyped-call]
        handshake = known(stub.Begin(HandshakeRequest(meshName=mesh), timeout=10))
        assert handshake["result"] == HandshakeResponse.OK, handshake
        request = JoinRequest(
            pubkey=pubkey, endpointIP=endpoint, endpointPort=int(port), meshName=mesh, nodeName=node
        )
        metadata = (("authorization", bearer(handshake["joinToken"])),)
        answer = known(stub.Join(request, metadata=metadata, timeout=10))
        assert answer["result"] == JoinResponse.OK, answer
        peers = [known(peer) for peer in stub.Peers(Empty(), timeout=10)]
    print(json.dumps({**answer, "peers": peers}))


class Original(MeshServicer):
    """Answers with the fixed fields."""

    def __init__(
        self, mesh: str, interface: str, pubkey: str, endpoint: str, port: str, gossip_key: str
    ) -> None:
        self._mesh = mesh
        self._interface = interface
        self._peers = [Peer(pubkey=pubkey, endpointIP=endpoint, endpointPort=int(port), meshIP="10.232.1.1")]
        self._gossip_key = gossip_key
        self._numbers = itertools.count(1)
        self._tokens: set[str] = set()

    def Begin(self, request: HandshakeRequest, context: grpc.ServicerContext) -> HandshakeResponse:
        if request.meshName != self._mesh:
            return HandshakeResponse(result=HandshakeResponse.ERROR, errorMessage="Unknown mesh")
        token = secrets.token_hex(16)
        self._tokens.add(token)
        return HandshakeResponse(result=HandshakeResponse.OK, joinToken=token)

    def Join(self, request: JoinRequest, context: grpc.ServicerContext) -> JoinResponse:
        header = dict(context.invocation_metadata())["authorization"]
        scheme, _, encoded = str(header).rpartition(" ")
        assert scheme == "Bearer:"
        if not any(self._signed(encoded, token) for token in self._tokens):
            return JoinResponse(result=JoinResponse.ERROR, errorMessage="Unauthorized")
        asked = known(request)
        address = f"10.232.0.{next(self._numbers)}"
        endpoint = f"{asked['endpointIP']}:{asked['endpointPort']}"
        subprocess.run(
            [
                "wg",
                "set",
                self._interface,
                "peer",
                asked["pubkey"],
                "allowed-ips",
                f"{address}/32",
                "endpoint",
                endpoint,
            ],
            check=True,
        )
        self._peers.append(
            Peer(
                pubkey=asked["pubkey"],
                endpointIP=asked["endpointIP"],
                endpointPort=asked["endpointPort"],
                meshIP=address,
            )
        )
        return JoinResponse(
            result=JoinResponse.OK,
            joiningNodeMeshIP=address,
            meshCidr="10.232.0.0/16",
            creationTS=1_600_000_000,
            serfEncryptionKey=self._gossip_key,
            serfModeLAN=True,
        )

    def Peers(self, request: Empty, context: grpc.ServicerContext) -> Iterator[Peer]:
        yield from self._peers

    @staticmethod
    def _signed(encoded: str, token: str) -> bool:
        try:
            jwt.decode(encoded, token, algorithms=["HS256"], leeway=10)
        except jwt.InvalidTokenError:
            return False
        return True


def serve(bind: str, *settings: str) -> None:
    *facts, key, certificate, authority = settings
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_MeshServicer_to_server(Original(*facts), server)  # type: ignore[no-untyped-call]
    pair = [(Path(key).read_bytes(), Path(certificate).read_bytes())]
    credentials = grpc.ssl_server_credentials(
        pair, root_certificates=Path(authority).read_bytes(), require_client_auth=True
    )
    server.add_secure_port(bind, credentials)
    server.start()
    print("serves", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "join":
        join(*rest)
    else:
        serve(*rest)
