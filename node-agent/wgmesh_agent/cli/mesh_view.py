"""The agent's report on the mesh as plain values, with unknown distinguished from zero."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgmesh_api.agent_pb2 import MemberInfo, MeshInfo

_RESERVED_PREFIX = "_"


@dataclass(frozen=True, slots=True)
class Liveness:
    """Liveness by probes through the tunnel. `seconds_ago` is None for never."""

    receiving: bool
    peer_receiving: bool
    seconds_ago: float | None


@dataclass(frozen=True, slots=True)
class MemberRow:
    """One member. `rtt_usec` is None if unknown, `last_handshake_unix` 0 for never; counts are bytes.

    `hearing` is None if no probes are exchanged: with this node itself, and with agents that do not support them.
    """

    name: str
    addresses: tuple[str, ...]
    status: str
    rtt_usec: int | None
    tags: Mapping[str, str]
    is_local: bool
    is_bootstrap: bool
    endpoint: str
    last_handshake_unix: int
    rx_bytes: int
    tx_bytes: int
    pubkey: str
    hearing: Liveness | None
    routes: tuple[str, ...] = ()
    path_mtu: int | None = None
    """Path MTU to it in bytes, as probed; None while unknown."""
    relay: str = ""
    preshared_key: bool = False


@dataclass(frozen=True, slots=True)
class MeshView:
    """The mesh as this node sees it; times are unix seconds."""

    info: MeshInfo
    members: tuple[MemberRow, ...]


def rtt_usec(msec: int, usec: int) -> int | None:
    """The more precise of two fields: agents of the original only fill milliseconds, this one uses -1 for unknown."""
    if usec > 0:
        return usec
    if msec > 0:
        return msec * 1000
    return None if usec < 0 else 0


def with_reduced_mtu(view: MeshView) -> list[MemberRow]:
    """The members with a reduced path MTU: MTUMismatch."""
    whole = view.info.mtu // 16 * 16  # WireGuard pads to this, so a smaller difference does not count
    return [member for member in view.members if member.path_mtu is not None and member.path_mtu < whole]


def mesh_view(info: MeshInfo, members: Iterable[MemberInfo]) -> MeshView:
    """Members sorted by name, without reserved tags."""
    return MeshView(info, tuple(sorted((_member(member) for member in members), key=lambda view: view.name)))


def _member(member: MemberInfo) -> MemberRow:
    return MemberRow(
        name=member.nodeName,
        addresses=tuple(member.meshIPs) or (member.addr,),
        status=member.status,
        rtt_usec=None if member.isLocalNode else rtt_usec(member.rttMsec, member.rttUsec),
        tags={tag.key: tag.value for tag in member.tags if not tag.key.startswith(_RESERVED_PREFIX)},
        is_local=member.isLocalNode,
        is_bootstrap=member.bootstrap,
        endpoint=member.endpoint,
        last_handshake_unix=member.lastHandshakeTS,
        rx_bytes=member.rxBytes,
        tx_bytes=member.txBytes,
        pubkey=member.pubkey,
        routes=tuple(member.routes),
        path_mtu=member.pathMTU or None,
        hearing=_hearing(member) if member.probed else None,
        relay=member.relay,
        preshared_key=member.presharedKey,
    )


def _hearing(member: MemberInfo) -> Liveness:
    ago = member.lastProbeMsecAgo / 1000 if member.lastProbeMsecAgo > 0 else None
    return Liveness(member.receiving, member.peerReceiving, ago)


def as_json(view: MeshView) -> dict[str, Any]:
    """The document of `wgmesh info -o json`; docs/command-line.md describes it."""
    info = view.info
    return {
        "mesh": {
            "name": info.name,
            "nodeCount": info.nodeCount,
            "created": info.meshCeationTS,
            "cidrs": list(info.meshCidrs),
            "gossipProfile": info.gossipProfile,
            "gossipEncrypted": info.gossipEncrypted,
            "tls": info.tls,
        },
        "node": {
            "name": info.nodeName,
            "joined": info.nodeJoinTS,
            "addresses": list(info.meshIPs),
            "endpoint": info.endpoint,
            "pubkey": info.pubkey,
            "bootstrap": info.bootstrap,
            "behindNat": info.behindNat,
            "interface": info.interface,
            "backend": info.backend,
            "mtu": info.mtu,
            "version": info.version,
            "secretIds": [id_.hex() for id_ in info.secretIds],
            "refusals": dict(sorted(info.refusals.items())),
            "rejectedInput": dict(sorted(info.rejectedInput.items())),
        },
        "members": [_member_json(member) for member in view.members],
    }


def _member_json(member: MemberRow) -> dict[str, Any]:
    return {
        "name": member.name,
        "addresses": list(member.addresses),
        "status": member.status,
        "rttMs": None if member.rtt_usec is None else member.rtt_usec / 1000,
        "tags": dict(sorted(member.tags.items())),
        "local": member.is_local,
        "bootstrap": member.is_bootstrap,
        "endpoint": member.endpoint or None,
        "relay": member.relay or None,
        "pubkey": member.pubkey or None,
        "lastHandshake": member.last_handshake_unix or None,
        "rxBytes": member.rx_bytes,
        "txBytes": member.tx_bytes,
        "presharedKey": None if member.is_local else member.preshared_key,
        "pathMtu": member.path_mtu,
        "routes": list(member.routes),
        "reachable": hearing.receiving if (hearing := member.hearing) else None,
        "peerReceiving": hearing.peer_receiving if hearing else None,
        "heard": hearing.receiving if hearing else None,
        "hearsUs": hearing.peer_receiving if hearing else None,
        "heardSecondsAgo": hearing.seconds_ago if hearing else None,
    }
