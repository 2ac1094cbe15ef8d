"""Real systemd-networkd and NetworkManager beside a mesh: kept off by the package's files they take nothing of it; else
they do, and the agent puts it back.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, lab_network

from wgmesh_agent.lab.host import Host
from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.lab.processes import children_of
from wgmesh_agent.linux.policy_rules import routing_table_of

pytestmark = pytest.mark.netns
SITE = "192.168.7.0/24"
UNMANAGED = files("wgmesh_agent") / "unmanaged"
LINK_FILE, DAEMON_FILE = "00-wgmesh.network", "50-wgmesh-networkd.conf"
NETWORKD = Path("/lib/systemd/systemd-networkd")
PLACES = {LINK_FILE: "network", DAEMON_FILE: "networkd.conf.d"}
UPLINK = "[Match]\nName=eth0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nAddress={address}\n"
CATCH_ALL = "[Match]\nName=*\n\n[Network]\nDHCP=no\nLinkLocalAddressing=no\n"
"""As in images for clouds: whatever card there is."""
REPAIR_SECONDS = 3.0

BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>"""
MANAGER_CONFIG = "[main]\nplugins=keyfile\nauth-polkit=false\ndns=none\nrc-manager=unmanaged\n"
UPLINK_LEFT_ALONE = "[keyfile]\nunmanaged-devices=interface-name:eth0\n"
MANAGER_FILE = "50-wgmesh-networkmanager.conf"
MANAGER = ("NetworkManager", "nmcli", "dbus-daemon")
UNPACK = Path(__file__).with_name("network-manager")

needs_networkd = pytest.mark.skipif(not NETWORKD.exists(), reason="systemd-networkd is not installed")


@pytest.fixture(scope="module")
def programs() -> dict[str, str]:
    """The environment to find NetworkManager in: what Debian has of it, unpacked, where it is not installed."""
    if not all(map(shutil.which, MANAGER)) and not shutil.which("apt-get"):
        pytest.skip(
            f"{', '.join(MANAGER)}: not all are installed, and there is no apt-get to fetch them with"
        )
    done = subprocess.run([UNPACK], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(os.environ)
    if folder := done.stdout.strip():
        root = Path(folder)
        found["PATH"] = f"{root}/usr/sbin:{root}/usr/bin:{found['PATH']}"
        found["LD_LIBRARY_PATH"] = ":".join(map(str, root.glob("usr/lib/*-linux-gnu")))
    return found


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """n1 has routing rules, a table and a barrier for the site behind n2."""
    with lab_network() as network:
        mesh = Mesh(network)
        for name in ("n1", "n2"):
            network.add_host(name)
        network.hosts["n1"].run(["mount", "-t", "sysfs", "sysfs", "/sys"])
        gate = network.hosts["n2"]
        gate.run(["ip", "link", "add", "site0", "type", "bridge"])
        gate.run(["ip", "address", "add", "192.168.7.1/24", "dev", "site0"])
        gate.run(["ip", "link", "set", "site0", "up"])
        mesh.bootstrap("n1", "-allow-routes", f"n2={SITE}")
        mesh.join("n2", "-routes", SITE)
        mesh.wait_until_full()
        eventually(lambda: SITE in of_mesh(network.hosts["n1"]), 10, "n1 has the route")
        yield mesh


def of_mesh(host: Host) -> str:
    """Addresses, routes and rules of the mesh; a link-local address is none of its."""
    table = str(routing_table_of("wglab"))
    commands = (
        "-4 -br address show dev wglab",
        "route show dev wglab",
        f"route show table {table}",
        "rule show",
    )
    return "\n".join(host.run(["ip", *one.split()], check=False).stdout for one in commands)


@contextmanager
def taken(mesh: Mesh, node: str) -> Iterator[list[str]]:
    """The kernel's notifications about removed objects of the mesh during the block, a line each; filled at the end."""
    path = mesh.network.folder / f"{node}.monitor"
    lines: list[str] = []
    with path.open("wb") as output:
        monitor = mesh.network.hosts[node].popen(["ip", "monitor", "address", "route", "rule"], output)
        try:
            yield lines
        finally:
            stop(monitor)
    marks = ("wglab", "proto 87", f"table {routing_table_of('wglab')}", f"lookup {routing_table_of('wglab')}")
    lines += [
        line
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("Deleted") and any(mark in line for mark in marks)
    ]


def mark_devices(host: Host) -> None:
    """The record of udevd, which does not run here, that a device is initialised: network managers wait for that. With
    a read-only /sys they would not, and networkd would handle links before it knows any address, route or rule.
    """
    mark = "echo I:1 >/run/udev/data/n$(cat $one/ifindex)"
    host.run(["sh", "-c", f"mkdir -p /run/udev/data; for one in /sys/class/net/*; do {mark}; done"])


def prepare_networkd(mesh: Mesh, node: str, with_files: tuple[str, ...]) -> None:
    """Its folders, the network's own configuration and these files of ours."""
    host = mesh.network.hosts[node]
    host.run(["sh", "-c", "rm -rf /run/systemd; mkdir -p /run/systemd/netif"])
    host.run(["chown", "systemd-network:systemd-network", "/run/systemd/netif"])
    mark_devices(host)
    prefix = mesh.network.subnets[0].prefixlen
    uplink = UPLINK.format(address=f"{mesh.network.address(node)}/{prefix}")
    texts = {"network/10-uplink.network": uplink, "network/20-all.network": CATCH_ALL}
    texts |= {f"{PLACES[name]}/{name}": (UNMANAGED / name).read_text() for name in with_files}
    for name, text in texts.items():
        path = f"/run/systemd/{name}"
        host.run(["sh", "-c", f"mkdir -p $(dirname {path}); cat >{path}"], text=text)


@contextmanager
def networkd(mesh: Mesh, node: str) -> Iterator[None]:
    """Runs it; entered once it has configured what it manages."""
    path = mesh.network.folder / f"{node}.networkd"
    command = ["env", "SYSTEMD_LOG_TARGET=console", "SYSTEMD_LOG_LEVEL=debug", str(NETWORKD)]
    with path.open("wb") as output:
        process = mesh.network.hosts[node].popen(command, output)
        try:
            eventually(
                lambda: "eth0: State changed: configuring -> configured" in path.read_text(errors="replace"),
                20,
                "networkd has set up eth0",
            )
            yield
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    # What was started is `nsenter`, which waits for its child.
    for child in children_of(process.pid):
        os.kill(child, signal.SIGTERM)
    process.wait(10)


@needs_networkd
def test_networkd_that_is_kept_off_takes_nothing_however_often_it_is_restarted(mesh: Mesh) -> None:
    host = mesh.network.hosts["n1"]
    before = of_mesh(host)
    prepare_networkd(mesh, "n1", (LINK_FILE, DAEMON_FILE))
    with taken(mesh, "n1") as lines:
        for _ in range(3):
            with networkd(mesh, "n1"):
                assert mesh.ping("n1", "n2", count=5).lost == 0
    assert lines == []
    assert of_mesh(host) == before
    assert "interface changed by another program" not in mesh.agents["n1"].said(20000)


@needs_networkd
@pytest.mark.parametrize(
    ("with_files", "lost"),
    [((LINK_FILE,), "lookup"), ((DAEMON_FILE,), "inet ")],
    ids=["without the file for routes and rules", "without the file for the interface"],
)
def test_networkd_takes_what_a_missing_file_would_keep_and_it_is_put_back(
    mesh: Mesh, with_files: tuple[str, ...], lost: str
) -> None:
    host = mesh.network.hosts["n1"]
    before = of_mesh(host)
    prepare_networkd(mesh, "n1", with_files)
    with taken(mesh, "n1") as lines, networkd(mesh, "n1"):
        eventually(lambda: of_mesh(host) == before, REPAIR_SECONDS, "all is put back")
    assert any(lost in line for line in lines), lines
    eventually(lambda: not mesh.ping("n1", "n2").lost, 20, "the mesh goes on")


@contextmanager
def network_manager(mesh: Mesh, node: str, programs: dict[str, str], with_file: bool) -> Iterator[Host]:
    """Runs it with its own bus and folders; entered once it knows the mesh's interface."""
    host, folder = mesh.network.hosts[node], mesh.network.folder
    host.run(["sh", "-c", "rm -rf /run/nm /run/dbus; mkdir -p /run/nm/conf.d /run/dbus"])
    mark_devices(host)
    texts = {"bus.conf": BUS, "nm.conf": MANAGER_CONFIG, "conf.d/10-uplink.conf": UPLINK_LEFT_ALONE}
    if with_file:
        texts[f"conf.d/{MANAGER_FILE}"] = (UNMANAGED / MANAGER_FILE).read_text()
    for name, text in texts.items():
        host.run(["sh", "-c", f"cat >/run/nm/{name}"], text=text)
    options = {
        "config": "nm.conf",
        "config-dir": "conf.d",
        "system-config-dir": "none",
        "intern-config": "intern",
        "state-file": "state",
    }
    program = ["NetworkManager", "--no-daemon", *(f"--{key}=/run/nm/{name}" for key, name in options.items())]
    with (folder / f"{node}.bus").open("wb") as output, (folder / f"{node}.nm").open("wb") as log:
        bus = host.popen(
            ["dbus-daemon", "--config-file=/run/nm/bus.conf", "--nofork", "--nopidfile"], output, programs
        )
        manager = host.popen(program, log, programs)
        try:
            eventually(
                lambda: state(host, programs) in SETTLED, 30, "NetworkManager knows the mesh's interface"
            )
            yield host
        finally:
            stop(manager)
            stop(bus)


SETTLED = ("unmanaged", "connected (externally)")


def state(host: Host, programs: dict[str, str]) -> str:
    """Of the mesh's interface, as NetworkManager has it."""
    shown = host.run(["nmcli", "-t", "-f", "DEVICE,STATE", "device"], check=False, env=programs).stdout
    return dict(line.rsplit(":", 1) for line in shown.splitlines() if ":" in line).get("wglab", "")


def test_networkmanager_that_is_kept_off_takes_nothing_however_often_it_is_restarted(
    mesh: Mesh, programs: dict[str, str]
) -> None:
    host = mesh.network.hosts["n1"]
    before = of_mesh(host)
    with taken(mesh, "n1") as lines:
        for _ in range(2):
            with network_manager(mesh, "n1", programs, with_file=True):
                assert state(host, programs) == "unmanaged"
                host.run(["nmcli", "networking", "off"], env=programs)
                assert mesh.ping("n1", "n2", count=5).lost == 0
    assert lines == []
    assert of_mesh(host) == before


def test_networkmanager_that_nobody_keeps_off_takes_the_address_and_it_is_put_back(
    mesh: Mesh, programs: dict[str, str]
) -> None:
    host = mesh.network.hosts["n1"]
    before = of_mesh(host)
    with taken(mesh, "n1") as lines, network_manager(mesh, "n1", programs, with_file=False):
        host.run(["nmcli", "networking", "off"], env=programs)
    assert any("inet " in line for line in lines), lines
    eventually(lambda: of_mesh(host) == before, 2 * REPAIR_SECONDS, "all is put back")
    eventually(lambda: not mesh.ping("n1", "n2").lost, 20, "the mesh goes on")
