"""Findings on this machine: agent, WireGuard, interface, addresses, certificate files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from wgmesh_agent.diagnosis.certificate import certificate_findings
from wgmesh_agent.diagnosis.finding import Code, Finding

Network = IPv4Network | IPv6Network
SWARM_PORTS = frozenset({"7946", "4789"})


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """The mesh's interface as the kernel has it; `ours` is whether it has the alias of wgmesh."""

    up: bool
    ours: bool
    addresses: frozenset[str]
    routes: frozenset[Network]


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A network that this machine reaches via an interface other than the mesh's.

    Attributes:
        connected: one of an address of that interface; else a route.
        of_mesh: the interface is another mesh's.
    """

    interface: str
    network: Network
    connected: bool
    of_mesh: bool


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """`trouble` is why it cannot be used; otherwise the times are unix seconds."""

    path: str
    trouble: str
    not_before: float = 0.0
    not_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """The wrong route of packets to a member's mesh address, which should leave by the mesh's interface.

    Attributes:
        interface: the actual one; empty for none.
        table: in which table the route was found.
        rule: the routing rule that applied; without a route, the kernel's error.
    """

    address: str
    interface: str
    table: str
    rule: str


@dataclass(frozen=True, slots=True)
class Hindrances:
    """Routing and firewall settings of the machine that conflict with the mesh.

    Attributes:
        forward_drops: what drops forwarded packets on a node that forwards for the mesh, one sentence each.
        strict: the mesh's interface accepts only packets whose reply would leave by it.
    """

    ways: tuple[Way, ...] = ()
    forward_drops: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts that the command collected itself.

    Attributes:
        now: unix seconds.
        agent_trouble: why the agent does not report its links; empty: it does.
        agent_runs: whether a process listens on its socket.
        mesh, interface: of the agent, or from the state folder; empty: no mesh is known here.
        state: None while there is no such interface.
        addresses, ranges: those that should be on it, and routed to it.
        kernel_trouble, userspace_trouble: why there is no such WireGuard; empty: there is.
        backend: auto, kernel or userspace.
        networks: those that this machine reaches via interfaces other than `interface`.
        own_addresses: of all its interfaces.
        ports_taken: ports that cannot be bound although no agent runs, such as `UDP port 54540`.
    """

    now: float
    agent_trouble: str
    agent_runs: bool
    mesh: str
    interface: str
    state: InterfaceState | None
    addresses: tuple[str, ...]
    ranges: tuple[Network, ...]
    kernel_trouble: str
    userspace_trouble: str
    backend: str
    networks: tuple[LocalNetwork, ...]
    own_addresses: frozenset[str]
    certificates: tuple[CertificateFile, ...]
    ports_taken: tuple[str, ...]
    hindrances: Hindrances = Hindrances()


def machine_findings(machine: Machine) -> Iterator[Finding]:
    if machine.agent_trouble and machine.agent_runs:
        yield Finding(
            Code.AGENT_SILENT,
            "",
            "The agent of this machine does not report the state of its links.",
            machine.agent_trouble,
            "Run this as root, with the same version as the agent. If the agent hangs, see its log.",
        )
    elif machine.agent_trouble:
        yield Finding(
            Code.AGENT_DOWN,
            "",
            "No agent is running on this machine: existing tunnels keep working, but nothing is repaired.",
            machine.agent_trouble,
            "Start it (`wgmesh join` or `wgmesh bootstrap`, as a service), and check its log if it terminates.",
        )
    yield from _wireguard(machine)
    for taken in machine.ports_taken:
        yield Finding(
            Code.PORT_TAKEN,
            "",
            f"{taken} is in use by another program.",
            "it could not be bound, although no agent runs",
            f"Stop that program (`ss -tulpn` names it), or give the agent another port.{_swarm(taken)}",
        )
    if machine.interface:
        yield from _interface(machine)
        if machine.state is not None and machine.state.up:
            yield from _hindrances(machine)
    yield from _overlaps(machine.ranges, machine.networks)
    for file in machine.certificates:
        if file.trouble:
            yield Finding(
                Code.CERTIFICATE,
                file.path,
                f"{file.path} cannot be used.",
                file.trouble,
                "Replace it with the right file: key and certificate must match, both in PEM format.",
            )
        else:
            yield from certificate_findings(
                file.path, f"the certificate {file.path}", file.not_before, file.not_after, machine.now
            )


def _wireguard(machine: Machine) -> Iterator[Finding]:
    lacking = {
        "kernel": machine.kernel_trouble,
        "userspace": machine.userspace_trouble,
        "auto": machine.kernel_trouble and machine.userspace_trouble,
    }[machine.backend]
    if lacking:
        both = f"{machine.kernel_trouble}; {machine.userspace_trouble}".strip("; ")
        yield Finding(
            Code.NO_WIREGUARD,
            "",
            "No usable WireGuard implementation on this machine.",
            both,
            "Load the kernel's module (`modprobe wireguard`), or install wireguard-go and check that "
            "/dev/net/tun exists; or choose the other by --backend.",
        )


def _interface(machine: Machine) -> Iterator[Finding]:
    name, state = machine.interface, machine.state
    repair = (
        "The agent repairs it within a second if it runs. If it recurs, find the program that changes it."
    )
    if state is None:
        yield Finding(
            Code.INTERFACE_GONE,
            name,
            f"The interface {name} does not exist: no traffic reaches the mesh.",
            "the kernel has no interface of that name",
            repair,
        )
        return
    if not state.up:
        yield Finding(
            Code.INTERFACE_DOWN,
            name,
            f"The interface {name} is down: no traffic reaches the mesh.",
            "its link state is down; something on this machine set it down",
            f"{repair} To do it at once: `ip link set {name} up`.",
        )
        return
    lacking = [
        *(f"the address {one}" for one in machine.addresses if one not in state.addresses),
        *(f"the route to {one}" for one in machine.ranges if one not in state.routes),
    ]
    if lacking or not state.ours:
        what = f"lacks {' and '.join(lacking)}" if lacking else "was created by another program"
        yield Finding(
            Code.INTERFACE_CHANGED,
            name,
            f"The interface {name} {what}.",
            "as read from the kernel",
            repair,
        )


def _swarm(taken: str) -> str:
    """Docker Swarm's ports (docs.docker.com/engine/swarm/swarm-tutorial), one of which serf uses as well."""
    if SWARM_PORTS.isdisjoint(taken.split()):
        return ""
    return (
        " It is also Docker Swarm's port: `--gossip-port` at the mesh's first node changes that of gossip, and "
        "`docker swarm init --data-path-port` changes 4789."
    )


def _hindrances(machine: Machine) -> Iterator[Finding]:
    name, found = machine.interface, machine.hindrances
    for way in found.ways:
        seen = f"the kernel sends packets to {way.address} by {way.interface or 'no interface'}, table {way.table}"
        yield Finding(
            Code.ROUTE_TAKEN,
            way.address,
            f"Packets to the member at {way.address} do not leave by {name}.",
            f"{seen}, by the rule `{way.rule}`"
            if way.table
            else f"the kernel has no route there: {way.rule}",
            "Another program's routing rule or route takes precedence over the mesh's (usually another VPN): "
            "let it exclude the mesh's range, or insert a rule before it: `ip rule add pref 5000 to "
            f"{way.address} lookup main`.",
        )
    for drops in found.forward_drops:
        yield Finding(
            Code.FORWARD_DROPPED,
            name,
            "This node forwards for the mesh, and its firewall drops forwarded packets.",
            f"{drops}, and no rule there names {name}",
            f"Let it accept packets that enter and leave by {name}: `iptables -I DOCKER-USER -i {name} -j "
            f"ACCEPT` and `iptables -I DOCKER-USER -o {name} -j ACCEPT` with Docker, otherwise the same in "
            "FORWARD.",
        )
    if found.strict:
        yield Finding(
            Code.RP_FILTER,
            name,
            f"{name} drops packets whose reply this machine would send by another interface.",
            f"net.ipv4.conf.all.rp_filter or net.ipv4.conf.{name}.rp_filter is 1 (strict), and neither is 2",
            "Networks behind members may then be unreachable if this machine has another route to them: set "
            f"sysctl net.ipv4.conf.{name}.rp_filter=2 (loose).",
        )


def _overlaps(ranges: Iterable[Network], networks: Iterable[LocalNetwork]) -> Iterator[Finding]:
    for mesh in ranges:
        for local in networks:
            if not _takes(local, mesh):
                continue
            whose = "another mesh's interface" if local.of_mesh else "the interface"
            how = "an address with this network" if local.connected else "a route to this network"
            yield Finding(
                Code.ADDRESS_OVERLAP,
                local.interface,
                f"The mesh's range {mesh} overlaps {local.network} of {whose} {local.interface}: packets for "
                "one are sent to the other.",
                f"{local.interface} has {how}",
                "Change one of the two ranges. A mesh keeps its own: create another mesh with a free range, or "
                "move the local network.",
            )


def _takes(local: LocalNetwork, mesh: Network) -> bool:
    """Whether one takes addresses from the other; a wider route around the mesh's range does not."""
    if local.network.version != mesh.version or not local.network.overlaps(mesh):
        return False
    return local.network.prefixlen >= mesh.prefixlen or (local.connected and local.network.prefixlen > 0)
