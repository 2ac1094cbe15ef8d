"""An Ethernet switch and the cables to it, in its own host: nothing of it is visible in this machine's network."""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Self

from wgmesh_agent.lab.command import run
from wgmesh_agent.lab.host import Host

UPLINK = "eth0"
_TABLE = "lab"


class Network:
    """Hosts on one switch: the n-th gets the n-th address of each subnet. Removes everything it created when it is
    closed.
    """

    def __init__(
        self,
        subnets: tuple[IPv4Network | IPv6Network, ...] = (IPv4Network("10.0.0.0/24"),),
        *,
        folder: Path | None = None,
        mtu: int = 1500,
    ) -> None:
        """Creates the switch.

        Args:
            folder: of the hosts' disks; a temporary one, removed at the end, if None.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="wgmesh-lab-") if folder is None else None
        self.folder = Path(self._temporary.name) if self._temporary else folder or Path()
        self.subnets = subnets
        self.mtu = mtu
        self.hosts: dict[str, Host] = {}
        self._numbers: dict[str, int] = {}
        self.switch = Host("switch", self.folder / "switch")
        self.switch.run(["ip", "link", "add", "br0", "type", "bridge"])
        self.switch.run(["ip", "link", "set", "br0", "up"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_host(self, name: str) -> Host:
        """Boots a host and plugs it in. Raises LabError."""
        host = Host(name, self.folder / name)
        self.hosts[name] = host
        self._numbers[name] = len(self._numbers) + 1
        self._plug(host)
        return host

    def add_router(self, name: str, *, random_ports: bool = False) -> Host:
        """Boots a host that masquerades the hosts behind it, and accepts no connections to them.

        Args:
            random_ports: another port for each destination (symmetric NAT); else the port is kept if it is free.
        """
        router = self.add_host(name)
        router.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
        router.run(
            ["nft", "-f", "-"],
            text=_router_rules(UPLINK, "masquerade random" if random_ports else "masquerade"),
        )
        return router

    def add_host_behind(self, name: str, router: str) -> Host:
        """Boots a host on its own cable to a router."""
        host = Host(name, self.folder / name)
        self.hosts[name] = host
        self._numbers[name] = len(self._numbers) + 1
        self.plug_behind(name, router)
        return host

    def plug_behind(self, name: str, router: str) -> None:
        """Moves the host's cable from where it is to a router, with another address there."""
        host, door = self.hosts[name], self.hosts[router]
        number = self._numbers[name]
        inside = f"in{number}"
        host.run(["ip", "link", "del", UPLINK], check=False)
        self._add_link(
            f"{inside} mtu {self.mtu} netns {door.pid}"
            f" type veth peer name {UPLINK} mtu {self.mtu} netns {host.pid}"
        )
        subnet = f"192.168.{100 + self._numbers[router]}"
        door.run(["ip", "address", "add", f"{subnet}.254/32", "dev", inside])
        door.run(["ip", "link", "set", inside, "up"])
        door.run(["ip", "route", "add", f"{subnet}.{number}/32", "dev", inside])
        host.run(["ip", "address", "add", f"{subnet}.{number}/32", "dev", UPLINK])
        host.run(["ip", "link", "set", UPLINK, "up"])
        host.run(["ip", "route", "add", "default", "via", f"{subnet}.254", "dev", UPLINK, "onlink"])

    def introduce(self) -> None:
        """Sets the link-layer addresses of all hosts permanently on each host.

        The kernel's table of resolved addresses is shared by all hosts of a machine, and is full at 1,024 of them.
        """
        for name, host in self.hosts.items():
            known = "".join(
                f"neighbour replace {subnet[number]} lladdr {_hardware(number)} dev {UPLINK} nud permanent\n"
                for other, number in self._numbers.items()
                if other != name
                for subnet in self.subnets
            )
            host.run(["ip", "-batch", "-"], text=known)

    def address(self, name: str, version: int = 4) -> str:
        """A host's address on the switch."""
        subnet = next(subnet for subnet in self.subnets if subnet.version == version)
        return str(subnet[self._numbers[name]])

    def reboot(self, name: str) -> Host:
        """Power failure, then a start with the same disk and the same cable."""
        host = self.hosts[name]
        host.kill()
        host.boot()
        self._plug(host)
        return host

    def cut_off(self, name: str) -> None:
        """Drops everything that the host sends and receives on its cable."""
        self.hosts[name].run(["nft", "-f", "-"], text=_cut_rules(UPLINK))

    def cut(self, name: str, other: str, *, one_way: bool = False) -> None:
        """Drops packets to `name` from `other`, and unless `one_way` those in the other direction."""
        for here, there in ((name, other),) if one_way else ((name, other), (other, name)):
            addresses = [self.address(there, subnet.version) for subnet in self.subnets]
            rules = "".join(
                f"add rule inet {_TABLE} input {'ip' if ':' not in a else 'ip6'} saddr {a} drop\n"
                for a in addresses
            )
            self.hosts[here].run(["nft", "-f", "-"], text=_chains() + rules)

    def heal(self, name: str) -> None:
        """Reverts every cut of this host (of a cut between two, its own half)."""
        self.hosts[name].run(
            ["nft", "-f", "-"], text=f"add table inet {_TABLE}\ndelete table inet {_TABLE}\n"
        )

    def _add_link(self, words: str) -> None:
        # Only the network namespace is entered: a host's process number is valid on this machine only.
        run(["nsenter", f"--target={self.switch.pid}", "--net", "--", "ip", "link", "add", *words.split()])

    def close(self) -> None:
        """Ends all hosts and removes their disks if they were temporary."""
        for host in (*self.hosts.values(), self.switch):
            host.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _plug(self, host: Host) -> None:
        number = self._numbers[host.name]
        port = f"port{number}"
        self.switch.run(["ip", "link", "del", port], check=False)
        self._add_link(
            f"{port} mtu {self.mtu} type veth"
            f" peer name {UPLINK} address {_hardware(number)} mtu {self.mtu} netns {host.pid}"
        )
        self.switch.run(["ip", "link", "set", port, "master", "br0", "up"])
        for subnet in self.subnets:
            nodad = ["nodad"] if subnet.version == 6 else []
            host.run(["ip", "address", "add", f"{subnet[number]}/{subnet.prefixlen}", "dev", UPLINK, *nodad])
        host.run(["ip", "link", "set", UPLINK, "up"])


def _hardware(number: int) -> str:
    """The address of a host's network card."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def _router_rules(interface: str, masquerade: str) -> str:
    """Unsolicited packets are dropped before connection tracking records them: an entry would hold the port against its
    owner.
    """
    return (
        "add table ip lab-nat\n"
        "add chain ip lab-nat out { type nat hook postrouting priority 100; }\n"
        f"add rule ip lab-nat out oifname {interface} {masquerade}\n"
        "add chain ip lab-nat in { type filter hook input priority 0; }\n"
        f"add rule ip lab-nat in iifname {interface} ct state new udp dport 1-65535 drop\n"
    )


def _chains() -> str:
    return (
        f"add table inet {_TABLE}\n"
        f"add chain inet {_TABLE} input {{ type filter hook input priority -300; }}\n"
        f"add chain inet {_TABLE} output {{ type filter hook output priority -300; }}\n"
    )


def _cut_rules(interface: str) -> str:
    return _chains() + (
        f"add rule inet {_TABLE} input iifname {interface} drop\n"
        f"add rule inet {_TABLE} output oifname {interface} drop\n"
    )
