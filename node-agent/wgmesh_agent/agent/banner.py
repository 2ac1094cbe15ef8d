"""Text that a started agent prints on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from wgmesh_agent.agent.node import MeshNode
from wgmesh_agent.agent.session_start import SessionConfig
from wgmesh_agent.mesh.membership.ledger import join_addresses
from wgmesh_agent.settings.model import HostPort, NodeSettings
from wgmesh_agent.wireguard.model import Endpoint


def banner(node: MeshNode, settings: NodeSettings, role: SessionConfig, backend_reason: str) -> str:
    """The lines, each prefixed with `** ` as in the original."""
    return "\n".join(f"** {line}".rstrip() for line in _lines(node, settings, role, backend_reason))


def _lines(node: MeshNode, settings: NodeSettings, role: SessionConfig, backend_reason: str) -> Iterator[str]:
    record, local = node.record, node.local
    done = "joined" if role.join_target is not None else "bootstrapped"
    yield f"Mesh '{record.mesh}' has been {done}."
    yield ""
    rows = {
        "Mesh name": record.mesh,
        "Mesh CIDR range": ", ".join(map(str, record.ranges)),
        "This node's name": record.node,
        "This node's mesh IP": join_addresses(record.addresses),
        "This node's endpoint": str(local.endpoint),
        "WireGuard": f"{local.config.interface}, {node.backend.kind.value} ({backend_reason})",
        "Gossip": f"port {record.gossip_port}, {record.profile} timing, "
        + ("encrypted" if record.gossip_keys else "NOT ENCRYPTED"),
    }
    if settings.memberlist_file is not None:
        rows["Members are written to"] = str(settings.memberlist_file)
    yield from (f"{name + ':':<32}{value}" for name, value in rows.items())
    yield ""
    if settings.dev:
        yield "This mesh runs in DEVELOPMENT MODE: anyone who reaches a bootstrap node can join,"
        yield "and neither joining nor gossip is encrypted. DO NOT USE IT FOR PRODUCTION DATA."
    elif role.tls:
        yield "Joining is authenticated by client certificates (mutual TLS)."
    yield ""
    if role.bind is not None:
        yield "On another machine, with its own certificate files:" if role.tls else "On another machine:"
        options = "-dev" if settings.dev else "-ca-cert CA -client-cert CERT -client-key KEY"
        yield f"  wgmesh join -v {options} -n {record.mesh} -bootstrap-addr {_reached_at(node, role.bind)}"
    yield f"To see the mesh: wgmesh info      To see the tunnels: wg show {local.config.interface}"
    yield "Ctrl-C leaves the mesh. SIGTERM only ends this agent: tunnels and membership stay."


def _reached_at(node: MeshNode, bind: HostPort) -> HostPort | Endpoint:
    """The Mesh service's address for joiners: the bound address, or this node's endpoint if it is bound to all."""
    if bind.host not in ("0.0.0.0", "::"):  # noqa: S104
        return bind
    return replace(node.local.endpoint, port=bind.port)
