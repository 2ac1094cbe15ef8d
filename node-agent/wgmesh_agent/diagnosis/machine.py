"""What is wrong with this machine: agent, WireGuard, interface, addresses, certificate files."""

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
    """The mesh's interface as the kernel has it; `ours` is whether it bears our mark."""

    up: bool
    ours: bool
    addresses: frozenset[str]
    routes: frozenset[Network]


@dataclass(frozen=True, slots=True)
class LocalNetwork:
    """A network that this machine reaches by something else than the mesh's interface.

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
    """`trouble` says why it cannot be used; else the times are unix seconds."""

    path: str
    trouble: str
    not_before: float = 0.0
    not_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """How packets to a member's mesh address leave this machine, though it should be by the mesh's interface.

    Attributes:
        interface: by which; empty if by none.
        table: in which table the route was found.
        rule: the routing rule that led there; where there is no route, what the kernel says.
    """

    address: str
    interface: str
    table: str
    rule: str


@dataclass(frozen=True, slots=True)
class Hindrances:
    """What of the machine's routing and firewall stands in the mesh's way.

    Attributes:
        forward_drops: what drops forwarded packets on a node that forwards for the mesh, a sentence each.
        strict: the mesh's interface takes packets only whose senders would be answered by it.
    """

    ways: tuple[Way, ...] = ()
    forward_drops: tuple[str, ...] = ()
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What the command looked at itself.

    Attributes:
        now: unix seconds.
        agent_trouble: why the agent does not say how its links are; empty: it does.
        agent_runs: whether somebody listens on its socket.
        mesh, interface: of the agent, or as the state folder remembers; empty: no mesh is known here.
        state: None while there is no such interface.
        addresses, ranges: what is to be on it and routed to it.
        kernel_trouble, userspace_trouble: why there is no such WireGuard; empty: there is.
        backend: auto, kernel or userspace.
        networks: what this machine reaches otherwise than by `interface`.
        own_addresses: of all its interfaces.
        ports_taken: what cannot be bound though no agent runs, such as `UDP port 54540`.
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
            "The agent of this machine does not say how its links are.",
            machine.agent_trouble,
            "Run this as root, with the program of the agent's own version; see the agent's log if it hangs.",
        )
    elif machine.agent_trouble:
        yield Finding(
            Code.AGENT_DOWN,
            "",
            "No agent answers on this machine: tunnels that stand go on, but nothing is repaired.",
            machine.agent_trouble,
            "Start it (`wgmesh join` or `wgmesh bootstrap`, as a service), and look at its log if it ends.",
        )
    yield from _wireguard(machine)
    for taken in machine.ports_taken:
        yield Finding(
            Code.PORT_TAKEN,
            "",
            f"{taken} is in use by another program.",
            "it could not be bound, though no agent runs",
            f"End that program (`ss -tulpn` names it), or give the agent another port.{_swarm(taken)}",
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
                "Put the right file in its place: key and certificate belong together, both PEM.",
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
            "This machine has no WireGuard that could be used.",
            both,
            "Load the kernel's module (`modprobe wireguard`), or install wireguard-go and see that /dev/net/tun is "
            "there; or choose the other by --backend.",
        )


def _interface(machine: Machine) -> Iterator[Finding]:
    name, state = machine.interface, machine.state
    repair = (
        "The agent repairs it within a second if it runs. If it comes back, find out who else changes it."
    )
    if state is None:
        yield Finding(
            Code.INTERFACE_GONE,
            name,
            f"The interface {name} is not there: nothing passes to the mesh.",
            "the kernel knows no interface of that name",
            repair,
        )
        return
    if not state.up:
        yield Finding(
            Code.INTERFACE_DOWN,
            name,
            f"The interface {name} is down: nothing passes to the mesh.",
            "the kernel says so; somebody switched it off",
            f"{repair} `ip link set {name} up` does it at once.",
        )
        return
    lacking = [
        *(f"the address {one}" for one in machine.addresses if one not in state.addresses),
        *(f"the route to {one}" for one in machine.ranges if one not in state.routes),
    ]
    if lacking or not state.ours:
        what = f"lacks {' and '.join(lacking)}" if lacking else "was made by another program"
        yield Finding(
            Code.INTERFACE_CHANGED,
            name,
            f"The interface {name} {what}.",
            "the kernel was asked for it",
            repair,
        )


def _swarm(taken: str) -> str:
    """Docker Swarm's ports (docs.docker.com/engine/swarm/swarm-tutorial), one of which serf has as well."""
    if SWARM_PORTS.isdisjoint(taken.split()):
        return ""
    return (
        " It is Docker Swarm's port, too: `--gossip-port` at the mesh's first node gives gossip another, and "
        "`docker swarm init --data-path-port` moves 4789."
    )


def _hindrances(machine: Machine) -> Iterator[Finding]:
    name, found = machine.interface, machine.hindrances
    for way in found.ways:
        seen = f"the kernel sends packets to {way.address} by {way.interface or 'nothing'}, table {way.table}"
        yield Finding(
            Code.ROUTE_TAKEN,
            way.address,
            f"Packets to the member at {way.address} do not leave by {name}.",
            f"{seen}, by the rule `{way.rule}`" if way.table else f"the kernel has no way there: {way.rule}",
            "Another program's routing rule or route comes before the mesh's (another VPN, most often): have it "
            f"leave out the mesh's range, or put a rule before it: `ip rule add pref 5000 to {way.address} lookup "
            "main`.",
        )
    for drops in found.forward_drops:
        yield Finding(
            Code.FORWARD_DROPPED,
            name,
            "This node forwards for the mesh, and its firewall drops what is forwarded.",
            f"{drops}, and no rule there names {name}",
            f"Let it pass what comes in and goes out by {name}: `iptables -I DOCKER-USER -i {name} -j ACCEPT` and "
            f"`iptables -I DOCKER-USER -o {name} -j ACCEPT` where Docker is, else the same in FORWARD.",
        )
    if found.strict:
        yield Finding(
            Code.RP_FILTER,
            name,
            f"{name} drops packets whose sender this machine would answer by another interface.",
            f"net.ipv4.conf.all.rp_filter or net.ipv4.conf.{name}.rp_filter is 1 (strict), and neither is 2",
            "Networks behind members may then be out of reach where this machine has another way to them: set sysctl "
            f"net.ipv4.conf.{name}.rp_filter=2 (loose).",
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
                f"The mesh's range {mesh} overlaps {local.network} of {whose} {local.interface}: packets for one end "
                "in the other.",
                f"{local.interface} has {how}",
                "Give one of the two another range. A mesh keeps its own: make another mesh with a range that is "
                "free, or move the local network.",
            )


def _takes(local: LocalNetwork, mesh: Network) -> bool:
    """Whether one takes addresses from the other; a wide route around the mesh's range does not."""
    if local.network.version != mesh.version or not local.network.overlaps(mesh):
        return False
    return local.network.prefixlen >= mesh.prefixlen or (local.connected and local.network.prefixlen > 0)
