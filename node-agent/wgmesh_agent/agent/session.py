"""Session: one run of a node under one mesh record, from the start of all parts to their end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from wgmesh_agent.agent.banner import banner
from wgmesh_agent.agent.composition import compose
from wgmesh_agent.agent.memberlist_file import memberlist_file
from wgmesh_agent.agent.platform import Platform
from wgmesh_agent.agent.policies import Policies
from wgmesh_agent.agent.session_end import SessionEnd, SessionOutcome
from wgmesh_agent.agent.session_start import NodeStart
from wgmesh_agent.control import server as agent_service
from wgmesh_agent.control.server import AgentService
from wgmesh_agent.linux.backends.backend_selection import SelectedBackend
from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.runtime.log_levels import LogFormat
from wgmesh_agent.runtime.log_output import LogOutput
from wgmesh_agent.runtime.supervisor import Component
from wgmesh_agent.settings.model import NodeSettings
from wgmesh_agent.state.store import StateStore

GRACE_SECONDS = 0.5

ComponentFactory = Callable[["Session"], Iterable[Component]]
"""Components that run beside a session."""


class Session:
    """A node and its servers on this machine.

    Attributes:
        end: how it is to end, for all components.
        has_started: whether it became a member.
    """

    def __init__(
        self,
        settings: NodeSettings,
        start: NodeStart,
        policies: Policies,
        store: StateStore,
        selected: SelectedBackend,
        companions: ComponentFactory,
        platform: Platform,
    ) -> None:
        self._settings = settings
        self._role = start.role
        self._selected = selected
        self._companions = companions
        self._clock = platform.clock
        self._leaving = asyncio.Lock()
        self.end = SessionEnd()
        self.node = compose(start, store, selected, policies, self.end, platform)
        self.has_started = False

    async def run(
        self, stop: asyncio.Event, leave: asyncio.Event, peers: tuple[Claim, ...], *, fresh: bool
    ) -> SessionOutcome:
        """Runs until `stop` or `leave` is set, the user leaves through the socket, or a task fails.

        Raises:
            BackEndError, GossipError, OSError, SocketInUse: it could not start.
            Exception: the exception of one of its tasks.
        """
        try:
            # The servers stop first: they depend on the node.
            async with contextlib.AsyncExitStack() as servers:
                await self._start(servers, peers, fresh=fresh)
                self.has_started = True
                return await self._until_ended(stop, leave)
        finally:
            if not self.end.has_left:
                await self.node.stop()

    async def leave(self) -> None:
        """Leaves the mesh, once; returns when done."""
        async with self._leaving:
            if not self.end.outcome.done():
                await self.node.leave()
                self.end.end(SessionOutcome.LEFT)

    async def _start(
        self, servers: contextlib.AsyncExitStack, peers: tuple[Claim, ...], *, fresh: bool
    ) -> None:
        node, settings = self.node, self._settings
        await node.start(peers)
        if node.join_service is not None:
            servers.push_async_callback(node.join_service.stop)
            await node.join_service.attempt()
            node.tasks.keep(node.join_service.run, "join service")
        server = await agent_service.serve(
            self._agent_service(), settings.agent_socket, settings.agent_socket_owner
        )
        servers.push_async_callback(self._stop_agent, server)
        if settings.memberlist_file is not None:
            writer = memberlist_file(
                node.changes, node.view, node.gossip, settings.memberlist_file, self._clock
            )
            node.tasks.keep(writer.run, "memberlist")
        if fresh:
            await node.joiner.join_known()
        else:
            node.tasks.start(node.joiner.join_known(), "enter gossip")
        if node.rejoin is not None:
            node.tasks.keep(node.rejoin.run, "enter again")
        else:
            # No other node to query: others query this node for its key.
            await asyncio.to_thread(node.store.forget_earlier_key)
        node.tasks.keep(node.disputes.run, "confirming")
        for component in self._companions(self):
            node.tasks.keep(component.run, component.name)
        # A log that programs parse must not contain lines for a terminal.
        if settings.log_format is LogFormat.TEXT:
            text = banner(node, settings, self._role, self._selected.reason)
            LogOutput(sys.stdout).write(f"{text}\n")

    def _agent_service(self) -> AgentService:
        node = self.node
        return AgentService(
            mesh=node.mesh_report,
            members=node.member_report,
            local=node.local,
            changes=node.changes,
            gossip=node.gossip,
            rtts=node.rtts,
            rotations=node.rotations,
            facts=node.facts,
            leave=self.leave,
        )

    async def _until_ended(self, stop: asyncio.Event, leave: asyncio.Event) -> SessionOutcome:
        end = self.end
        stopping = asyncio.create_task(stop.wait())
        leaving = asyncio.create_task(leave.wait())
        requested = asyncio.create_task(end.leave_requested.wait())
        waits: list[asyncio.Future[Any]] = [
            stopping,
            leaving,
            requested,
            end.outcome,
            self.node.tasks.failed,
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pending in (stopping, leaving, requested):
                pending.cancel()
        if self.node.tasks.failed.done():
            self.node.tasks.failed.result()
        if (leave.is_set() or end.leave_requested.is_set()) and not stop.is_set():
            left = asyncio.create_task(self.leave())
            hurried = asyncio.create_task(stop.wait())
            await asyncio.wait([left, hurried], return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if left.done():
                left.result()
            else:
                left.cancel()
        end.end(SessionOutcome.STOP)
        return end.outcome.result()

    async def _stop_agent(self, server: grpc.aio.Server) -> None:
        await server.stop(GRACE_SECONDS)
        self._settings.agent_socket.unlink(missing_ok=True)
