"""Life cycle of the agent: lock, key, join, sessions, exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from wgmesh_agent.agent.gossip_events import NameConflictLost
from wgmesh_agent.agent.platform import system_platform
from wgmesh_agent.agent.session import ComponentFactory, Session
from wgmesh_agent.agent.session_end import SessionOutcome
from wgmesh_agent.agent.session_start import NodeStart, SessionStart
from wgmesh_agent.control import server
from wgmesh_agent.control.server import SocketInUse
from wgmesh_agent.gossip.errors import GossipError
from wgmesh_agent.linux.backends.backend_selection import select_backend
from wgmesh_agent.linux.interface_addresses import reachable_addresses
from wgmesh_agent.linux.name_resolution import resolve
from wgmesh_agent.linux.nft import SystemNft
from wgmesh_agent.mesh.credentials import TLSFileError
from wgmesh_agent.mesh.discovery.advertised_endpoint import (
    NoUsableEndpoint,
    advertised_endpoint,
    underlay_mtu,
)
from wgmesh_agent.mesh.join.joiner import JoinFailed
from wgmesh_agent.mesh.join.start_conditions import Waiting, is_passing, sentence
from wgmesh_agent.mesh.membership.local_node import NodeConfig
from wgmesh_agent.mesh.routing.mss_clamp import remove_clamp
from wgmesh_agent.runtime.allocator import bound_allocator
from wgmesh_agent.runtime.checksummed_file import CorruptFile
from wgmesh_agent.runtime.file_descriptors import raise_limit
from wgmesh_agent.runtime.gc_tuning import tune_garbage_collector
from wgmesh_agent.runtime.logging_config import configure_logging
from wgmesh_agent.settings.model import NodeSettings
from wgmesh_agent.state.machine_identity import this_machine
from wgmesh_agent.state.store import MACHINE, MeshLocked, StateStore
from wgmesh_agent.wireguard.errors import BackEndError, KernelError
from wgmesh_agent.wireguard.keys import PrivateKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress, Network
from wgmesh_agent.wireguard.mtu import tunnel_mtu

log = structlog.get_logger()
T = TypeVar("T")
CAP_NET_ADMIN = 1 << 12


class ConfigConflict(Exception):
    """The settings contradict this machine: its permissions, or its record of the mesh."""


FORESEEABLE = (
    BackEndError,
    JoinFailed,
    ConfigConflict,
    CorruptFile,
    GossipError,
    MeshLocked,
    NameConflictLost,
    NoUsableEndpoint,
    SocketInUse,
    TLSFileError,
    OSError,
)

Entry = Callable[[StateStore, PrivateKey, bool], Coroutine[Any, Any, SessionStart | None]]
"""From the state folder, the WireGuard key and whether that is new, to the mesh this node is part of; None: it is part
of no mesh, and must leave nothing here.
"""


async def noop() -> None:
    """No-op."""


def run_agent(
    settings: NodeSettings,
    prepare: Callable[[], Entry],
    companions: ComponentFactory = lambda session: (),
    after_leaving: Callable[[], Coroutine[Any, Any, None]] = noop,
    *,
    before_stopping: Callable[[], Coroutine[Any, Any, None]] = noop,
    held_tunnel: bool = False,
    founds: bool = False,
) -> int:
    """Runs until it is stopped or has left; returns the exit status. Foreseeable faults are one sentence, not a
    traceback.

    Args:
        prepare: creates the entry; raises what an entry may raise.
        companions: components that run beside each session, by name.
        after_leaving: called when this node has left the mesh permanently.
        before_stopping: awaited when the agent is to stop; everything else keeps running until then.
        held_tunnel: wireguard-go is run by another program, which is asked for it; and the key of a node that never
            joined is not missed.
        founds: creates the mesh if no record of it exists.
    """
    output = configure_logging(settings.verbosity, settings.log_format, sys.stderr)
    try:
        _require_net_admin()
        bound_allocator()
        tune_garbage_collector()
        raise_limit()
        return asyncio.run(
            _agent(
                settings,
                prepare(),
                companions,
                after_leaving,
                before_stopping,
                held_tunnel=held_tunnel,
                founds=founds,
            )
        )
    except FORESEEABLE as error:
        output.write(f"wgmesh: {sentence(error)}\n")
        return 1


def _require_net_admin() -> None:
    status = Path("/proc/self/status").read_text()
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    if not effective & CAP_NET_ADMIN:
        raise ConfigConflict("an agent creates a network interface: run it as root, or with CAP_NET_ADMIN")


async def _agent(
    settings: NodeSettings,
    entry: Entry,
    companions: ComponentFactory,
    after_leaving: Callable[[], Coroutine[Any, Any, None]],
    before_stopping: Callable[[], Coroutine[Any, Any, None]],
    *,
    held_tunnel: bool,
    founds: bool,
) -> int:
    stop, leave, stopping = _signals(before_stopping)
    server.remove_stale_socket(settings.agent_socket)
    folder: StateStore | None = None
    try:
        folder = await _until_stopped(_opened(settings), stop, leave)
        if folder is None:
            return 0
        opened = folder
        # In a cluster, the state does not determine the node's name.
        name = settings.node_name if held_tunnel else None
        if (
            await _until_stopped(
                _until_possible(lambda: _own_state(opened, founds=founds, name=name)), stop, leave
            )
            is None
        ):
            return 0
        keys = await _until_stopped(_until_possible(lambda: _private_key(opened)), stop, leave)
        if keys is None:
            return 0
        key, is_new_key = keys
        start = await _until_stopped(entry(folder, key, is_new_key), stop, leave)
        if start is None and not (stop.is_set() or leave.is_set()):
            await _clear_up(settings, folder, held_tunnel=held_tunnel)
            await _until_stopped(after_leaving(), stop, leave)
        while start is not None:
            begun = start

            async def session(begun: SessionStart = begun, key: PrivateKey = key) -> Session:
                return await _session(settings, opened, key, begun, companions, held_tunnel=held_tunnel)

            ended = await _run(session, begun, stop, leave)
            if ended is None:
                return 0
            run, end = ended
            key = run.node.local.private_key
            if end is SessionOutcome.LEFT:
                await _until_stopped(after_leaving(), stop, leave)
            start = run.end.next_start if end is SessionOutcome.RESTARTED else None
        return 0
    finally:
        stopping.cancel()
        if folder is not None:
            if held_tunnel and folder.is_empty():
                folder.clear()
            folder.close()


async def _until_possible(attempt: Callable[[], T]) -> T:
    """The result of `attempt`, which may block: retried until this machine allows it."""
    async with Waiting() as waiting:
        return await waiting.until(lambda: asyncio.to_thread(attempt))


async def _opened(settings: NodeSettings) -> StateStore:
    return await _until_possible(lambda: StateStore(settings.state_dir, settings.mesh_name))


def _own_state(folder: StateStore, *, founds: bool, name: str | None) -> bool:
    """True, once the recorded state is verified to be this machine's and, if `name` is given, that member's.

    Raises ConfigConflict.
    """
    machine = this_machine()
    if not folder.is_of_another(machine):
        other = _other_member(folder, name) if name is not None else ""
        if other:
            log.error(
                "state of another node quarantined",
                reason=f"it is that of the member {other}, and this node is {name}",
                kept=str(folder.set_aside()),
                next="joining as itself",
            )
            folder.is_of_another(machine)
        return True
    why = "the state folder was written on another machine: this machine is a copy of it, or has its disk"
    keep = f"if the other machine will not return, remove {folder.path / MACHINE} to continue as it"
    if founds and not folder.is_empty():
        raise ConfigConflict(
            f"{why}. It founded the mesh {folder.path.name}, and would found a second one: give this machine "
            f"the other's -bootstrap-addr and its own certificate, or remove {folder.path}; {keep}"
        )
    aside = folder.set_aside()
    folder.is_of_another(machine)
    log.error(
        "state of another machine quarantined", reason=why, kept=str(aside), next=f"joining as itself; {keep}"
    )
    return True


def _other_member(folder: StateStore, name: str) -> str:
    """The member whose state this is, if that is not `name`; empty if it is, or if there is no record."""
    try:
        record = folder.mesh()
    except CorruptFile as error:
        log.error("mesh record is corrupt", error=str(error), next="joining again")
        return ""
    return record.node if record is not None and record.node != name else ""


async def _run(
    session: Callable[[], Awaitable[Session]], start: SessionStart, stop: asyncio.Event, leave: asyncio.Event
) -> tuple[Session, SessionOutcome] | None:
    """A session from its start to its end, as soon as this machine allows it; None: the agent is to stop before
    that.
    """
    async with Waiting() as waiting:
        while True:
            made = await _until_stopped(waiting.until(session), stop, leave)
            if made is None:
                return None
            try:
                return made, await made.run(stop, leave, start.peers, fresh=start.fresh)
            except FORESEEABLE as error:
                if made.has_started or not is_passing(error):
                    raise
                waiting.say(sentence(error))
            if await _until_stopped(waiting.pause(), stop, leave) is None:
                return None


async def _until_stopped(work: Coroutine[Any, Any, T], *ends: asyncio.Event) -> T | None:
    """The result of `work`, or None if one of the events occurs first."""
    task = asyncio.create_task(work)
    waits = [asyncio.create_task(end.wait()) for end in ends]
    try:
        await asyncio.wait([task, *waits], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, *waits):
            pending.cancel()


async def _clear_up(settings: NodeSettings, folder: StateStore, *, held_tunnel: bool) -> None:
    """Removes what earlier processes of this agent may have left: interface and files."""
    interface = f"wg{settings.mesh_name}"
    try:
        choice = replace(
            await select_backend(settings.backend.value, interface), external_process=held_tunnel
        )
        await choice.backend(interface).destroy()
    except BackEndError as error:
        log.error("interface not removed", interface=interface, error=str(error))
    if why := await remove_clamp(interface, SystemNft()):
        log.warning("cannot remove the TCP MSS clamp", error=why)
    folder.clear()


def _private_key(folder: StateStore) -> tuple[PrivateKey, bool]:
    """This node's key, and whether it was generated just now."""
    is_new = not folder.has_private_key()
    try:
        # A key generated while the agent was terminating is new to the mesh, or may be.
        return folder.private_key(), is_new or folder.earlier_private_key() is not None
    except CorruptFile as error:
        log.error(
            "WireGuard key lost",
            error=str(error),
            next="generating a new key; the mesh must admit this node again",
        )
        return folder.private_key(), True


async def _session(
    settings: NodeSettings,
    folder: StateStore,
    key: PrivateKey,
    start: SessionStart,
    companions: ComponentFactory,
    *,
    held_tunnel: bool,
) -> Session:
    role, record = start.role, start.record
    towards = [
        a
        for b in (role.join_target.bootstraps if role.join_target else ())
        for a in await resolve(b.host, b.port)
    ]
    own = await endpoint_of(settings, towards, record.ranges)
    choice = replace(
        await select_backend(settings.backend.value, f"wg{record.mesh}"), external_process=held_tunnel
    )
    log.info("WireGuard backend selected", kind=choice.kind.value, reason=choice.reason)
    config = NodeConfig(
        interface=f"wg{record.mesh}",
        listen_port=settings.listen_port,
        mtu=settings.mtu
        or tunnel_mtu([await underlay_mtu(towards, own)], mesh_version=max(n.version for n in record.ranges)),
        keepalive_seconds=settings.keepalive_seconds,
        relays=settings.relays,
        endpoint_is_fixed=settings.listen_addr is not None or settings.stun_server is not None,
    )

    async def locate(towards: Sequence[IPAddress]) -> Endpoint:
        return await endpoint_of(settings, towards, record.ranges)

    node_start = NodeStart(config, record, key, own, locate, role)
    return Session(settings, node_start, start.policies, folder, choice, companions, system_platform())


async def endpoint_of(
    settings: NodeSettings, towards: Sequence[IPAddress], ranges: Sequence[Network]
) -> Endpoint:
    """This node's WireGuard endpoint, by its settings. Raises NoUsableEndpoint."""
    if settings.own_address is not None and await _has_address(settings.own_address):
        return Endpoint(settings.own_address, settings.listen_port)
    return await advertised_endpoint(
        settings.listen_addr, settings.listen_port, settings.stun_server, towards, ranges
    )


async def _has_address(address: IPAddress) -> bool:
    """Whether this machine has it; True if that cannot be determined."""
    try:
        return address in {found for _, found in await reachable_addresses()}
    except KernelError as error:
        log.debug("cannot read addresses", error=str(error))
        return True


def _signals(
    before_stopping: Callable[[], Coroutine[Any, Any, None]],
) -> tuple[asyncio.Event, asyncio.Event, asyncio.Task[None]]:
    """SIGTERM stops; Ctrl-C leaves, and a second Ctrl-C does not wait for that. The caller must keep the task, and end
    it.
    """
    stop, leave, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    loop.add_signal_handler(signal.SIGINT, lambda: stop.set() if leave.is_set() else leave.set())

    async def when_told() -> None:
        await told.wait()
        try:
            await before_stopping()
        except Exception as error:
            log.error("shutdown incomplete", error=repr(error), exc_info=error)
        finally:
            stop.set()

    return stop, leave, asyncio.create_task(when_told(), name="stopping")
