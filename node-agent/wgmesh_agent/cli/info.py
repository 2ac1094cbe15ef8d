"""`wgmesh info`: the mesh and its members, once or on every change."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

import click

from wgmesh_agent.cli.agent_client import CALL_TIMEOUT_SECONDS, agent_at
from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.mesh_view import Liveness, MemberRow, MeshView, as_json, mesh_view, with_reduced_mtu
from wgmesh_agent.cli.output import OUTPUT
from wgmesh_agent.cli.units import UNKNOWN, ago, moment, printable, rtt, seconds_ago, size
from wgmesh_agent.settings.build import client_settings
from wgmesh_agent.settings.setting import Command
from wgmesh_api.text import shortened

if TYPE_CHECKING:
    from wgmesh_api.agent_pb2 import WaitResponse
    from wgmesh_api.agent_pb2_grpc import AgentStub

_WATCH_SECONDS = 10
_STATUS_STYLES = {"alive": "green", "failed": "red", "leaving": "yellow", "left": "yellow"}


@click.pass_context
def _info(ctx: click.Context, watch: bool, output: str) -> int:
    settings = client_settings(gather(ctx, Command.CLIENT))
    as_document = output == "json"
    with agent_at(settings.agent_socket) as agent:
        if not watch:
            _show(_ask(agent), as_document, indent=2)
            return 0
        with contextlib.suppress(KeyboardInterrupt):
            _watch(agent, as_document)
    return 0


def _watch(agent: AgentStub, as_document: bool) -> None:
    for number in itertools.count():
        # requested before reading: changes during the output are then not missed
        answers = _next_change(agent)
        if number > 0 and not as_document:
            click.echo()
        _show(_ask(agent), as_document, indent=None)
        while not [answer for answer in answers if answer.changesOccured]:
            answers = _next_change(agent)


def _next_change(agent: AgentStub) -> Iterable[WaitResponse]:
    from wgmesh_api.agent_pb2 import WaitInfo

    wait = WaitInfo(timeoutSecs=_WATCH_SECONDS)
    answers: Iterable[WaitResponse] = agent.WaitForChangeInMesh(
        wait, timeout=_WATCH_SECONDS + CALL_TIMEOUT_SECONDS
    )
    return answers


def _ask(agent: AgentStub) -> MeshView:
    from wgmesh_api.agent_pb2 import AgentEmpty

    info = agent.Info(AgentEmpty(), timeout=CALL_TIMEOUT_SECONDS)
    return mesh_view(info, agent.Nodes(AgentEmpty(), timeout=CALL_TIMEOUT_SECONDS))


def _show(view: MeshView, as_document: bool, *, indent: int | None) -> None:
    if as_document:
        click.echo(json.dumps(as_json(view), indent=indent))
    else:
        print_info(view, time.time(), sys.stdout)
    sys.stdout.flush()


def print_info(view: MeshView, now_unix: float, stream: TextIO) -> None:
    """The header and the table of members."""
    from wgmesh_agent.cli.text_table import Column, print_table

    for line in _header(view):
        stream.write(f"{printable(line)}\n")
    stream.write("\n")
    columns = (
        Column("Name"),
        Column("Address"),
        Column("Status", styles=_STATUS_STYLES),
        Column("RTT", right=True),
        Column("Tags", folds=True),
        Column("Endpoint"),
        Column("Last probe"),
        Column("Last handshake"),
        Column("Received", right=True),
        Column("Sent", right=True),
    )
    print_table(columns, [_row(member, now_unix) for member in view.members], stream)


def _header(view: MeshView) -> list[str]:
    info = view.info
    lines = [
        f"Mesh '{info.name}' has {info.nodeCount} nodes, started {moment(info.meshCeationTS)}",
        f"This node '{info.nodeName}' joined {moment(info.nodeJoinTS)}",
    ]
    if info.interface:
        role = "a bootstrap node, " if info.bootstrap else ""
        lines.append(
            f"It is {role}on {info.interface} ({info.backend} WireGuard), reached at {info.endpoint or '?'}"
            f"{', behind NAT' if info.behindNat else ''}"
        )
        if not info.gossipEncrypted:
            lines.append(
                "DEVELOPMENT MODE: gossip is not encrypted, anyone who can reach a bootstrap node can join"
            )
    for member in view.members:
        if member.routes:
            lines.append(f"Routes via {member.name}: {', '.join(member.routes)}")
    reduced = with_reduced_mtu(view)
    if reduced:
        paths = shortened([f"{member.name} {member.path_mtu}" for member in reduced])
        lines.append(f"MTUMismatch: the path MTU is below the interface's {info.mtu} bytes: {paths}")
    lines += _preshared(view)
    probed = [member.hearing for member in view.members if member.hearing is not None]
    if probed:
        lines.append(
            f"Peers: {sum(one.receiving for one in probed)} of {len(probed)} reachable, "
            f"{sum(one.peer_receiving for one in probed)} confirm receiving from this node"
        )
    if info.refusals:
        refused = ", ".join(f"{reason} {count}" for reason, count in sorted(info.refusals.items()))
        lines.append(f"Rejected claims of other members: {refused}")
    return lines


def _preshared(view: MeshView) -> list[str]:
    """Number of tunnels that use a pre-shared key; empty if none is configured."""
    others = [member for member in view.members if not member.is_local]
    without = [member.name for member in others if not member.preshared_key]
    if not others or (not view.info.secretIds and len(without) == len(others)):
        return []
    lacking = f"; without: {shortened(without)}" if without else ""
    return [f"{len(others) - len(without)} of {len(others)} tunnels use a pre-shared key{lacking}"]


def _row(member: MemberRow, now_unix: float) -> tuple[str, ...]:
    if member.is_local:
        handshake = received = sent = UNKNOWN
    else:
        handshake = ago(member.last_handshake_unix, now_unix)
        received, sent = size(member.rx_bytes), size(member.tx_bytes)
    return (
        member.name,
        " ".join(member.addresses),
        member.status,
        rtt(member.rtt_usec),
        ", ".join(f"{key}={value}" for key, value in sorted(member.tags.items())),
        f"via {member.relay}" if member.relay else member.endpoint or UNKNOWN,
        last_probe_text(member.hearing),
        handshake,
        received,
        sent,
    )


def last_probe_text(hearing: Liveness | None) -> str:
    """Whether and when the last probe of a member arrived, and whether it receives from this node."""
    if hearing is None:
        return UNKNOWN
    when = "never" if hearing.seconds_ago is None else seconds_ago(hearing.seconds_ago)
    if not hearing.receiving:
        return "never" if hearing.seconds_ago is None else f"no, {when}"
    return when if hearing.peer_receiving else f"{when}, inbound only"


info = GoCommand(
    "info",
    _info,
    params=[
        click.Option(["--watch"], is_flag=True, help="print again on every change, until interrupted"),
        OUTPUT,
        *setting_options(Command.CLIENT),
    ],
    help="Show the mesh and its members.",
)
