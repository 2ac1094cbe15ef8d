"""A ground of real agents for each test, and our own nodes beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serf.agents import KEY, PORT, Agent, Ground, ground, programs

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.gossip.memberlist.config import SerfConfig
from wgmesh_agent.gossip.wire.keyring import Keyring

OurNode = Callable[..., Awaitable[GossipNode]]


@pytest.fixture(params=programs(), ids=lambda program: Path(program).name)
def serf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    with ground(tmp_path, request.param) as made:
        yield made


@pytest.fixture
async def our_node(serf: Ground) -> AsyncIterator[OurNode]:
    """Starts nodes of ours: `await our_node("name", join=agent, tags=…)`."""
    nodes: list[GossipNode] = []

    async def start(
        name: str = "ours",
        *,
        join: Agent | None = None,
        key: bytes | None = KEY,
        keyring: Keyring | None = None,
        **settings: Any,
    ) -> GossipNode:
        config = SerfConfig(name, settings.pop("address", None) or next(serf.addresses), PORT, **settings)
        node = GossipNode(config, keyring=keyring or (None if key is None else Keyring(key)))
        await node.start()
        nodes.append(node)
        if join is not None:
            await node.join([(join.address, PORT)])
        return node

    yield start
    await asyncio.gather(*(node.close() for node in nodes))
