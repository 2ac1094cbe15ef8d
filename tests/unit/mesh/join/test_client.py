"""Answers of a compromised bootstrap node to Peers(): bounded in number and in bytes, and logged once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from wgmesh_agent.mesh.join import client as module
from wgmesh_agent.mesh.join.client import MAX_PEERS, JoinUnreachable, peers_of
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_api.meshservice_pb2 import Empty, Peer
from wgmesh_api.meshservice_pb2_grpc import MeshServicer, add_MeshServicer_to_server

OWN = PrivateKey.generate(os.urandom).public()


class Bad(MeshServicer):
    """Names peers without end."""

    def __init__(self, peer: Callable[[int], Peer], most: int = 1 << 30) -> None:
        self.peer = peer
        self.most = most
        self.told = 0

    async def Peers(self, request: Empty, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Peer]:
        while self.told < self.most:
            self.told += 1
            yield self.peer(self.told)


async def asked(bad: Bad) -> tuple[Any, ...]:
    server = grpc.aio.server()
    add_MeshServicer_to_server(bad, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await peers_of(f"127.0.0.1:{port}", None, OWN)
    finally:
        await server.stop(None)


async def test_an_answer_has_an_end_in_bytes() -> None:
    bad = Bad(lambda number: Peer(pubkey=str(OWN), nodeName="x" * 60_000))
    with pytest.raises(JoinUnreachable, match="bytes"):
        await asked(bad)
    assert bad.told * 60_000 < 2 * module.MAX_PEERS_BYTES


async def test_an_answer_has_an_end_in_number_whatever_its_peers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PEERS", 50)
    with pytest.raises(JoinUnreachable, match="more than 50 peers"):
        await asked(Bad(lambda number: Peer(pubkey="none")))
    assert MAX_PEERS == 20_000


async def test_peers_that_make_no_sense_are_left_out_and_that_is_said_once() -> None:
    def peer(number: int) -> Peer:
        return Peer(
            pubkey="none" if number % 2 else str(PrivateKey.generate(os.urandom).public()),
            meshIP="10.232.0.9",
        )

    with capture_logs() as logs:
        claims = await asked(Bad(peer, 20))
    assert len(claims) == 10
    assert [(line["event"], line["how_many"]) for line in logs] == [("malformed peers ignored", 10)]
