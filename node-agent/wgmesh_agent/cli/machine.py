"""Collects the machine's facts for `wgmesh doctor`: WireGuard, interface, networks, certificate files, ports, state
folder.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from wgmesh_agent.cli.hindrances import hindrances
from wgmesh_agent.diagnosis.machine import (
    CertificateFile,
    Hindrances,
    InterfaceState,
    LocalNetwork,
    Machine,
    Network,
)
from wgmesh_agent.linux.backends.backend_selection import missing_requirements
from wgmesh_agent.linux.local_networks import LocalInterface
from wgmesh_agent.linux.port_owner import holders
from wgmesh_agent.linux.wireguard_interface import ALIAS
from wgmesh_agent.mesh.credentials import TLSFileError, load_tls_files
from wgmesh_agent.runtime import checksummed_file
from wgmesh_agent.settings import bootstrap_table, table
from wgmesh_agent.settings.build import DEFAULT_GOSSIP_PORT
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.resolve import Resolved
from wgmesh_agent.state import codec
from wgmesh_agent.state.store import MESH

if TYPE_CHECKING:
    from wgmesh_api.agent_pb2 import ExamineResult, MeshInfo

_PAIRS = (
    (bootstrap_table.SERVER_KEY, bootstrap_table.SERVER_CERT),
    (table.CLIENT_KEY, table.CLIENT_CERT),
)


@dataclass(frozen=True, slots=True)
class SavedMesh:
    """The mesh of this machine, as reported by its agent or recorded in its state folder."""

    mesh: str
    interface: str
    addresses: tuple[str, ...]
    ranges: tuple[Network, ...]


NOTHING = SavedMesh("", "", (), ())


def inspect_machine(
    resolved: Resolved,
    found: Sequence[LocalInterface],
    info: MeshInfo | None,
    agent_trouble: str,
    *,
    agent_runs: bool,
    result: ExamineResult | None = None,
) -> Machine:
    """Args:
        found: the interfaces of this machine.
        info: the agent's report; None without an answer.
        agent_trouble: why it does not answer; otherwise empty.
        agent_runs: whether a process listens on its socket.
        result: its report on links; None without an answer.

    Raises:
        BackEndError: the kernel cannot be queried.
        OSError: the state folder cannot be read.
    """
    known = _told(info) if info is not None else _remembered(resolved)
    kernel, userspace = missing_requirements()
    own = next((one for one in found if one.name == known.interface), None)
    return Machine(
        now=time.time(),
        agent_trouble=agent_trouble,
        agent_runs=agent_runs,
        mesh=known.mesh,
        interface=known.interface,
        state=_state(own) if own is not None else None,
        addresses=known.addresses,
        ranges=known.ranges,
        kernel_trouble=kernel,
        userspace_trouble=userspace,
        backend=resolved.value(table.BACKEND).value,
        networks=tuple(_networks(found, known.interface)),
        own_addresses=frozenset(str(address) for one in found for address in one.addresses),
        certificates=tuple(_certificates(resolved)),
        ports_taken=() if agent_runs else tuple(_ports_taken(resolved, has_interface=own is not None)),
        hindrances=_hindrances(known.interface, result) if own is not None and own.up else Hindrances(),
    )


def _hindrances(interface: str, result: ExamineResult | None) -> Hindrances:
    peers = [address for link in result.links if link.boundKey for address in link.meshIPs] if result else []
    return hindrances(interface, peers, forwards=result is not None and result.own.forwards)


def _told(info: MeshInfo) -> SavedMesh:
    ranges = tuple(ip_network(text) for text in info.meshCidrs)
    return SavedMesh(info.name, info.interface, tuple(info.meshIPs), ranges)


def _remembered(resolved: Resolved) -> SavedMesh:
    """The given mesh, or the only one."""
    base, name = resolved.value(table.STATE_DIR), resolved.value(table.MESH_NAME)
    paths = [base / name / MESH] if name else sorted(base.glob(f"*/{MESH}"))
    contents = [checksummed_file.load_or_none(path) for path in paths]
    if len(contents) != 1 or contents[0] is None:
        return NOTHING
    try:
        record = codec.mesh_from_json(contents[0])
    except (KeyError, TypeError, ValueError, AttributeError):
        return NOTHING
    return SavedMesh(
        record.mesh, f"wg{record.mesh}", tuple(str(one) for one in record.addresses), record.ranges
    )


def _state(own: LocalInterface) -> InterfaceState:
    return InterfaceState(
        own.up, own.alias == ALIAS, frozenset(map(str, own.addresses)), frozenset(own.routes)
    )


def _networks(found: Sequence[LocalInterface], own: str) -> Iterator[LocalNetwork]:
    for one in found:
        if one.name not in (own, "lo"):
            connected = {network: True for network in one.networks if not network.is_link_local}
            for network, is_connected in {**dict.fromkeys(one.routes, False), **connected}.items():
                yield LocalNetwork(one.name, network, is_connected, one.alias == ALIAS)


def _certificates(resolved: Resolved) -> Iterator[CertificateFile]:
    """From the settings that the agent is started with, as far as they are in flags, variables or the YAML file."""
    for key_setting, setting in _PAIRS:
        key, path = resolved.value(key_setting), resolved.value(setting)
        if path is not None:
            yield _certificate(path, key)
    authority = resolved.value(table.CLIENT_CA_CERT)
    if authority is not None:
        yield _certificate(authority, None)
    bundle = resolved.value(table.BUNDLE)
    if bundle is not None:
        yield _bundle(bundle)


def _certificate(path: Path, key: Path | None) -> CertificateFile:
    try:
        if key is not None:
            load_tls_files(key, path, authority=path, folder=None)
        return _times(path, path.read_bytes())
    except TLSFileError as error:
        return CertificateFile(str(path), str(error))
    except OSError as error:
        return CertificateFile(str(path), f"it cannot be read: {error.strerror}")
    except ValueError as error:
        return CertificateFile(str(path), f"it contains no PEM certificate: {error}")


def _bundle(path: Path) -> CertificateFile:
    from wgmesh_agent.mesh.join.bundle import read_bundle

    try:
        return _times(path, read_bundle(path).certificate)
    except SettingsError as error:
        return CertificateFile(str(path), str(error))


def _times(path: Path, pem: bytes) -> CertificateFile:
    first = x509.load_pem_x509_certificates(pem)[0]
    return CertificateFile(
        str(path), "", first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
    )


def _ports_taken(resolved: Resolved, *, has_interface: bool) -> Iterator[str]:
    """`has_interface`: the mesh's own WireGuard is running, and owns its port."""
    wanted = []
    if not has_interface:
        wanted.append((resolved.value(table.LISTEN_PORT), socket.SOCK_DGRAM))
    if resolved.value(bootstrap_table.SERVER_CERT) is not None:
        wanted.append((resolved.value(bootstrap_table.GRPC_BIND_PORT), socket.SOCK_STREAM))
    gossip = resolved.value(table.GOSSIP_PORT) or DEFAULT_GOSSIP_PORT
    wanted += [(gossip, socket.SOCK_STREAM), (gossip, socket.SOCK_DGRAM)]
    for port, kind in wanted:
        if _is_taken(port, kind):
            protocol = "udp" if kind is socket.SOCK_DGRAM else "tcp"
            yield f"{protocol.upper()} port {port} ({holders(port, (protocol,))})"


def _is_taken(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
