"""`wgmesh demo`: a mesh on this machine, with each claim about it verified on the terminal."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from wgmesh_agent.lab.agent import PROGRAM, until
from wgmesh_agent.lab.command import LabError
from wgmesh_agent.lab.mesh import Mesh, Pings
from wgmesh_agent.lab.network import Network

PING_INTERVAL_SECONDS = 0.1
GONE_SECONDS = 2.0
FAILED_SECONDS = 60.0


class ClaimFailed(LabError):
    """A claim of the demo did not hold."""


def run_demo(nodes: int, keep: bool, backend: str) -> int:
    """Runs the demo; returns 0 if every claim held, else 1.

    Args:
        nodes: number of nodes, 2 to 50.
        keep: wait for Ctrl-C before cleaning up.
        backend: auto, kernel or userspace.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    begun = time.monotonic()
    made = _Made()
    try:
        with Network() as network:
            try:
                _show(Mesh(network, "demo", backend=backend), nodes)
            finally:
                made.note(network)
            if keep:
                _wait_for_user(network)
        left = made.left()
        _check(not left, "nothing of it is left: no interface, namespace, process or file", ", ".join(left))
    except LabError as error:
        click.secho(f"FAILED  {error}", fg="red", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("interrupted; everything was removed", err=True)
        return 1
    click.secho(f"Every claim held, in {time.monotonic() - begun:.0f} s.", fg="green")
    return 0


def _show(mesh: Mesh, count: int) -> None:
    names = [f"n{number}" for number in range(1, count + 1)]
    _say(f"{count} hosts on one switch, each a set of namespaces; n1 is the bootstrap node")
    for name in names:
        mesh.network.add_host(name)
    with _timed("n1 bootstraps a mesh: mutual TLS, encrypted gossip"):
        mesh.bootstrap("n1")
    with _timed(f"{count - 1} join at once, and all have completed handshakes with all"):
        for name in names[1:]:
            mesh.join(name)
        mesh.wait_until_full()
    click.echo(mesh.first.host.run([*PROGRAM, "info"]).stdout)
    _ping_matrix(mesh, names)
    _kill(mesh, names)
    _cut_off(mesh, names)
    _leave(mesh, names)


def _ping_matrix(mesh: Mesh, names: list[str]) -> None:
    found = mesh.ping_matrix(names)
    if len(names) <= 10:
        click.echo("round trips through the tunnels, ms\n" + _matrix(names, found) + "\n")
    silent = [f"{a} to {b}" for (a, b), pings in found.items() if pings.lost]
    _check(not silent, f"{len(found)} of {len(found)} directions answer a ping", "; ".join(silent))


def _kill(mesh: Mesh, names: list[str]) -> None:
    victim, other = names[-1], names[0]
    agent = mesh.agents[victim]
    with _pinging(mesh, other, victim) as pings:
        agent.kill()
        time.sleep(2)
        agent.start()
        agent.wait_until_ready()
        mesh.wait_until_full()
    counted = pings()
    _check(
        counted.lost == 0,
        f"the agent of {victim} was killed with SIGKILL and started again: "
        f"{counted.sent} pings to it, {counted.lost} lost",
    )


def _cut_off(mesh: Mesh, names: list[str]) -> None:
    lonely, others = names[-1], names[:-1]
    mesh.network.cut_off(lonely)
    begun = time.monotonic()
    until(
        lambda: all(_status(mesh, other, lonely) == "failed" for other in others) or None,
        FAILED_SECONDS,
        f"the others detect that {lonely} is isolated",
    )
    noticed = time.monotonic() - begun
    mesh.network.heal(lonely)
    healed = mesh.wait_until_full()
    until(lambda: not mesh.ping(others[0], lonely).lost or None, 10, f"{lonely} answers pings again")
    _check(
        True,
        f"{lonely} was isolated: detected everywhere in {noticed:.1f} s, all links up {healed:.1f} s after healing",
    )


def _leave(mesh: Mesh, names: list[str]) -> None:
    leaver, others = names[-1], names[:-1]
    key = mesh.agents[leaver].info().pubkey
    begun = time.monotonic()
    process = mesh.agents[leaver].host.popen([*PROGRAM, "leave"], -3)
    interface = f"wg{mesh.name}"

    def gone() -> bool | None:
        return (
            all(
                _status(mesh, other, leaver) is None
                and key not in mesh.agents[other].host.run(["wg", "show", interface, "peers"]).stdout
                for other in others
            )
            or None
        )

    until(gone, FAILED_SECONDS, f"{leaver} is removed everywhere")
    took = time.monotonic() - begun
    process.wait(20)
    mesh.agents[leaver].wait()
    links = mesh.agents[leaver].host.run(["ip", "-brief", "link"]).stdout
    _check(
        took <= GONE_SECONDS,
        f"{leaver} left: removed everywhere in {took:.1f} s",
        f"{GONE_SECONDS:g} s are the limit",
    )
    _check(interface not in links, f"{leaver} kept no interface")


def _status(mesh: Mesh, viewer: str, node: str) -> str | None:
    member = mesh.members(viewer).get(node)
    return member.status if member else None


@contextmanager
def _pinging(mesh: Mesh, source: str, target: str) -> Iterator[Callable[[], Pings]]:
    """Pings ten times a second during the block; the result is available after it."""
    address = mesh.mesh_address(target)
    ended = threading.Event()
    results: list[Pings] = []

    def work() -> None:
        while not ended.is_set():
            results.append(mesh.ping_address(source, address, count=5, interval=PING_INTERVAL_SECONDS))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: Pings(sum(r.sent for r in results), sum(r.received for r in results), None)
    finally:
        ended.set()
        thread.join()


@contextmanager
def _timed(claim: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    _check(True, f"{claim}: {time.monotonic() - begun:.1f} s")


def _check(holds: bool, claim: str, detail: str = "") -> None:
    if not holds:
        raise ClaimFailed(f"{claim}: this does not hold. {detail}")
    click.secho("ok  ", fg="green", nl=False)
    click.echo(claim)


def _say(text: str) -> None:
    click.secho("..  ", dim=True, nl=False)
    click.echo(text)


def _matrix(names: list[str], found: dict[tuple[str, str], Pings]) -> str:
    width = max(7, *(len(name) for name in names)) + 1
    lines = [" " * width + "".join(f"{name:>{width}}" for name in names)]
    for source in names:
        cells = (_cell(found.get((source, target))) for target in names)
        lines.append(f"{source:<{width}}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _cell(pings: Pings | None) -> str:
    if pings is None:
        return "-"
    return "lost" if pings.milliseconds is None else f"{pings.milliseconds:.2f}"


class _Made:
    """Objects that the demo created on this machine, to verify their removal."""

    def __init__(self) -> None:
        self._namespaces: set[str] = set()
        self._folder = Path()
        self._interfaces = set(_interfaces())

    def note(self, network: Network) -> None:
        hosts = (network.switch, *network.hosts.values())
        self._namespaces = {_link(Path(f"/proc/{host.pid}/ns/net")) for host in hosts if host.pid}
        self._folder = network.folder

    def left(self) -> list[str]:
        processes = [
            p.parent.parent.name for p in Path("/proc").glob("[0-9]*/ns/net") if _link(p) in self._namespaces
        ]
        interfaces = [
            n for n in _interfaces() if n not in self._interfaces and n.startswith(("wgdemo", "port"))
        ]
        folders = [str(self._folder)] if self._folder.exists() else []
        return [*(f"process {number}" for number in processes), *interfaces, *folders]


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:  # the process ended in the meantime
        return ""


def _wait_for_user(network: Network) -> None:
    click.echo("\nThe mesh stays up until you press Ctrl-C. To inspect a host:")
    for name, host in network.hosts.items():
        click.echo(f"  {name}: nsenter --target={host.pid} --net --mount --uts --pid bash")
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo()
