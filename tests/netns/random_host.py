"""A host with random configuration, created in this process's network, and its kernel's output of `route get`.

Run in its own network namespace with a seed, it prints as JSON the changes by a mesh that are not its business:
`unshare --net python random_host.py SEED`. It needs no agent or tunnel: the kernel routes the packets.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from itertools import product
from pathlib import Path
from typing import Any

from wgmesh_agent.linux import policy_rules, rtnetlink, wireguard_interface
from wgmesh_agent.wireguard.model import InterfaceSpec, Route

RANGES = {4: "10.232.0.0/16", 6: "fd32::/64"}
BEHIND = {
    4: ("192.168.7.0/24", "172.30.4.0/22", "10.77.0.0/16", "203.0.113.0/24"),
    6: ("fd07:7::/48", "2001:db8:77::/48"),
}
ANNOUNCED = {4: "192.168.50.0/24", 6: "fd50::/64"}
EARLY = 10_000
Answer = tuple[Any, ...]
Question = tuple[str, str | None, str | None]


def sh(command: str, *, may_fail: bool = False) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert may_fail or done.returncode == 0, f"{command}: {done.stderr}"


@dataclass
class RandomHost:
    """Cards, bridges, tables and rules; `version` is the IP version all is about."""

    seed: int
    version: int
    sources: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    early: bool = False

    def build(self) -> None:
        chance = random.Random(f"{self.seed}/{self.version}")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")
        for name in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0")
        sh("ip link set lo up")
        for number in range(chance.randint(1, 4)):
            self._card(number, chance)
        for number in range(chance.randint(0, 3)):
            self._interface(
                f"br{number}", "bridge", self._network(172, 17 + number), 16 if self.version == 4 else 64
            )
        network = ip_network(ANNOUNCED[self.version])
        self._interface("site0", "bridge", str(network[1]), network.prefixlen)
        for _ in range(chance.randint(0, 4)):
            self._route(chance)
        for _ in range(chance.randint(0, 8)):
            self._rule(chance)
        for odd in (self._tailscale, self._wg_quick, self._vrf, self._main_elsewhere):
            if chance.random() < 0.3:
                odd(chance)

    def _ip(self, command: str, *, may_fail: bool = False) -> None:
        self.made.append(command)
        sh(f"ip -{self.version} {command}", may_fail=may_fail)

    def _network(self, *numbers: int) -> str:
        one, other = numbers
        return f"{one}.{other}.0.1" if self.version == 4 else f"fd{one % 100:02d}:{other}::1"

    def _interface(self, name: str, kind: str, address: str, length: int) -> None:
        peer = f" peer name p{name}" if kind == "veth" else ""
        sh(f"ip link add {name} type {kind}{peer}")
        sh(f"ip link set {name} up")
        if peer:
            sh(f"ip link set p{name} up")
        self._ip(f"address add {address}/{length} dev {name}")
        self.sources.append(address)
        self.inputs.append(name)

    def _card(self, number: int, chance: random.Random) -> None:
        address = self._network(198, 18 + number) if self.version == 4 else self._network(18, number + 1)
        length = 24 if self.version == 4 else 64
        self._interface(f"eth{number}", "veth", address, length)
        gate = str(ip_address(address) + 8)
        if number == 0 or chance.random() < 0.3:
            self._ip(f"route add default via {gate} dev eth{number} metric {100 + number}")
        if number or chance.random() < 0.3:
            table = 100 + number
            self._ip(f"route add default via {gate} dev eth{number} table {table}")
            where = chance.choice(("", f"pref {self._priority(chance)}"))
            self._ip(f"rule add from {address} {where} lookup {table}")

    def _priority(self, chance: random.Random) -> int:
        kind = chance.random()
        if kind < 0.2:
            self.early = True
            return chance.randint(1, EARLY - 1)
        if kind < 0.5:
            return policy_rules.first_priority_of("wglab") + chance.randint(-1, 5)
        if kind < 0.7:
            return chance.randint(32_700, 32_765)
        return chance.randint(EARLY, 32_699)

    def _somewhere(self, chance: random.Random) -> str:
        own = [*BEHIND[self.version], RANGES[self.version]]
        wide = (
            ["10.0.0.0/8", "192.168.0.0/16", "0.0.0.0/1"]
            if self.version == 4
            else ["fd00::/8", "2001:db8::/32"]
        )
        return chance.choice([*own[:-1], *wide, *wide])

    def _route(self, chance: random.Random) -> None:
        card = chance.choice([one for one in self.inputs if one.startswith("eth")])
        table = chance.choice((254, 254, 300, 301))
        kind = chance.choice(("", "", "", "unreachable ", "blackhole "))
        way = "" if kind else f"dev {card} "
        self._ip(f"route add {kind}{self._somewhere(chance)} {way}table {table}", may_fail=True)

    def _rule(self, chance: random.Random) -> None:
        selectors = [
            "",
            "iif lo",
            "fwmark 0x7",
            "not fwmark 0x7",
            "uidrange 1000-2000",
            "ipproto tcp dport 80",
        ]
        selectors.append(f"from {chance.choice(self.sources)}")
        selectors.append(f"to {self._somewhere(chance)}")
        selectors.append(f"iif {chance.choice(self.inputs)}")
        tables = ("300", "301", "254", "254 suppress_prefixlength 0", "100")
        action = chance.choice([*(f"lookup {table}" for table in tables), "unreachable"])
        selector = chance.choice(selectors if action == "unreachable" else [*selectors, ""])
        if action == "unreachable" and not selector:
            selector = "fwmark 0x7"
        self._ip(f"rule add {selector} pref {self._priority(chance)} {action}", may_fail=True)

    def _tailscale(self, chance: random.Random) -> None:
        self.early = True
        self._ip("rule add pref 5210 fwmark 0x80000/0xff0000 lookup 254")
        self._ip("rule add pref 5250 fwmark 0x80000/0xff0000 unreachable")
        self._ip("rule add pref 5270 lookup 52")
        self._ip(f"route add {self._somewhere(chance)} dev eth0 table 52")

    def _wg_quick(self, _: random.Random) -> None:
        self._ip("route add default dev eth0 table 51820")
        self._ip("rule add not fwmark 51820 lookup 51820")
        self._ip("rule add lookup 254 suppress_prefixlength 0")

    def _vrf(self, chance: random.Random) -> None:
        self._ip(f"rule add pref {chance.choice((1000, 20_000, 32_765))} lookup 255")
        self._ip("rule del pref 0")

    def _main_elsewhere(self, chance: random.Random) -> None:
        if chance.random() < 0.6:
            self._ip(f"rule add pref {chance.choice((500, 12_000, 32_000, 40_000))} lookup 254")
        self._ip("rule del pref 32766", may_fail=True)


class Mesh:
    """A mesh as far as the host's routing sees it."""

    def __init__(self, name: str, version: int, number: int) -> None:
        network = ip_network(RANGES[version])
        behind = BEHIND[version][number::2]
        self.own = str(network[3 + number])
        own = ip_interface(f"{self.own}/{network.max_prefixlen}")
        length = network.max_prefixlen if number else network.prefixlen + 1
        ranges = ip_network(f"{network[-2 if number else 0]}/{length}")
        self.spec = InterfaceSpec(
            name,
            (own,),
            (ranges,),
            1420,
            subnet_routes=tuple(Route(ip_network(one)) for one in behind),
            local_networks=(ip_network(ANNOUNCED[version]),),
            port=51820 + number,
        )

    def settle(self, times: int = 2) -> None:
        with rtnetlink.open_rtnetlink("a test") as ipr:
            if wireguard_interface.find_interface(ipr, self.spec.name) is None:
                ipr.link("add", ifname=self.spec.name, kind="bridge")
            for _ in range(times):
                link = wireguard_interface.find_interface(ipr, self.spec.name)
                assert link is not None
                differed = wireguard_interface.apply_spec(ipr, link, self.spec)
        assert not differed, f"the second pass found something to do: {differed}"

    def leave(self) -> None:
        with rtnetlink.open_rtnetlink("a test") as ipr:
            wireguard_interface.clear(ipr, self.spec.name)
            link = wireguard_interface.find_interface(ipr, self.spec.name)
            assert link is not None
            wireguard_interface.remove_interface(ipr, link)


def answers(host: RandomHost, meshes: list[Mesh]) -> dict[Question, Answer]:
    """What the kernel says for all targets, sources and inputs."""
    version = host.version
    networks = [*BEHIND[version], RANGES[version], ANNOUNCED[version]]
    targets = [str(ip_network(one)[9]) for one in networks]
    targets += [str(ip_address(one) + 5) for one in host.sources] + host.sources
    targets += ["8.8.8.8", "100.64.1.1"] if version == 4 else ["2600::1", "fd7a::1"]
    site = str(ip_network(ANNOUNCED[version])[7])
    stranger = "198.51.100.77" if version == 4 else "2a00::77"
    local = product(targets, [None, *host.sources, *(one.own for one in meshes)], [None])
    passing = product(targets, [stranger, site], host.inputs)
    questions: list[Question] = [*local, *passing]
    return dict(zip(questions, _ask(version, questions), strict=True))


def _ask(version: int, questions: list[Question]) -> list[Answer]:
    lines = [
        f"route get {target}" + (f" from {source}" if source else "") + (f" iif {name}" if name else "")
        for target, source, name in questions
    ]
    done = subprocess.run(
        ["ip", f"-{version}", "-json", "-force", "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    # For each that fails: why, and then which line of the input it was.
    failed = {int(line): why for why, line in re.findall(r"(.*)\nCommand failed -:(\d+)", done.stderr)}
    told = iter(done.stdout.splitlines())
    return [
        (failed[number],) if number in failed else _answer(json.loads(next(told))[0], question)
        for number, question in enumerate(questions, 1)
    ]


def _answer(told: dict[str, Any], question: Question) -> Answer:
    keys = ("type", "dev", "gateway") if question[1] else ("type", "dev", "gateway", "prefsrc")
    return tuple(told.get(key) for key in keys)


def is_the_mesh_s(question: Question, after: Answer, meshes: list[Mesh]) -> bool:
    """Whether a mesh may have changed the answer to this."""
    target, source, name = question
    whose = [mesh for mesh in meshes if after[1:2] == (mesh.spec.name,)]
    if source in {mesh.own for mesh in meshes}:
        # No host had that address before.
        return True
    if any(ip_address(target) in network for mesh in whose for network in mesh.spec.ranges):
        return True
    behind = any(
        ip_address(target) in route.destination for mesh in whose for route in mesh.spec.subnet_routes
    )
    unsourced = source is None and name is None
    announced = source is not None and any(
        ip_address(source) in one for mesh in whose for one in mesh.spec.local_networks
    )
    return behind and (unsourced or announced)


def state(version: int) -> list[str]:
    """Rules, and routes of all tables."""
    shown = [
        subprocess.run(
            ["ip", f"-{version}", *what.split()], capture_output=True, text=True, check=True
        ).stdout
        for what in ("rule show", "route show table all")
    ]
    return sorted(line for text in shown for line in text.splitlines())


def differences(seed: int, version: int) -> list[str]:
    """What is not as it was, and has to be; what the mesh does not do, and has to."""
    host = RandomHost(seed, version)
    host.build()
    meshes = [Mesh("wglab", version, 0), *([Mesh("wgblue", version, 1)] if seed % 2 else [])]
    untouched = state(version)
    before = answers(host, meshes)
    wrong = []
    for mesh in [*meshes, *meshes]:
        mesh.settle()
    after = answers(host, meshes)
    wrong += [
        f"{question}: {before[question]} before, {after[question]} with the mesh"
        for question in before
        if after[question] != before[question] and not is_the_mesh_s(question, after[question], meshes)
    ]
    if not host.early:
        wrong += [
            f"{question}: {after[question]} is not by the mesh"
            for mesh in meshes
            for route in mesh.spec.subnet_routes
            for question in [(str(route.destination[9]), mesh.own, None)]
            if after[question][1:2] != (mesh.spec.name,)
        ]
    for mesh in meshes:
        mesh.leave()
    gone = answers(host, [])
    wrong += [
        f"{one}: {before[one]} before, {gone[one]} after leaving" for one in gone if gone[one] != before[one]
    ]
    left = state(version)
    if left != untouched:
        wrong.append(f"left behind: {sorted(set(left) ^ set(untouched))}")
    return [*wrong, *host.made] if wrong else []


if __name__ == "__main__":
    print(json.dumps(differences(int(sys.argv[1]), int(sys.argv[2]))))
