"""Test hosts for back ends: a network and a mount namespace each, so that each has its own directory of sockets."""

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.netns.backend_agent import LENGTH

MOST_BYTES = 1 << 24
_AGENT = Path(__file__).with_name("backend_agent.py")
_PRIVATE_SOCKETS = (
    "mkdir -p /var/run/wireguard && mount -t tmpfs tmpfs /var/run/wireguard && echo ready && exec cat"
)


def _written(file: IO[str]) -> str:
    """All that a program has written to `file` so far. The position in it is the program's too, and is left alone."""
    return os.pread(file.fileno(), MOST_BYTES, 0).decode()


def until(condition: Callable[[], object], what: str, seconds: float = 40.0) -> None:
    """Returns once `condition()` is true; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Host:
    """Namespaces held by a process that waits on its input; they end with it."""

    def __init__(self, inside: Self | None = None) -> None:
        """Inside another host, it shares that one's files."""
        unshare = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _PRIVATE_SOCKETS]
        if inside is not None:
            unshare = inside.inside("unshare", "--net", "sh", "-c", "echo ready && exec cat")
        self._holder = subprocess.Popen(unshare, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.pid = self._holder.pid
        self.run("ip", "link", "set", "lo", "up")
        # Otherwise a new cable's own IPv6 address is unusable for two seconds, and a first handshake is lost.
        self.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")

    def inside(self, *command: str) -> list[str]:
        """`command` as it must be run from outside to run in this host."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", f"--wd={Path.cwd()}", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Output of `command` in this host."""
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def index(self, link: str) -> int:
        """The number of an interface."""
        return int(self.run("ip", "-o", "link", "show", link).partition(":")[0])

    @contextmanager
    def monitor(self) -> Iterator[Callable[[], str]]:
        """Returns afterwards the changes of links, addresses and routes within the block."""
        with tempfile.TemporaryFile("w+") as output:
            command = self.inside("ip", "monitor", "link", "address", "route")
            monitor = subprocess.Popen(command, stdout=output)

            def text() -> str:
                return _written(output)

            # There is no other sign that it has started to listen, or has reported everything.
            until(lambda: self._mark("10.254.0.1") in text(), "the monitor's beginning")
            told: list[str] = []
            yield lambda: told[0]
            until(lambda: self._mark("10.254.0.2") in text(), "the monitor's end")
            monitor.kill()
            monitor.wait()
            told.append("".join(line for line in text().splitlines(keepends=True) if "10.254.0." not in line))

    def _mark(self, address: str) -> str:
        self.run("ip", "route", "add", address, "dev", "lo")
        self.run("ip", "route", "del", address, "dev", "lo")
        return f"Deleted {address}"

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        """`command` started in this host, its output to be read."""
        return subprocess.Popen(self.inside(*command), stdout=subprocess.PIPE, text=True)

    @contextmanager
    def taken_port(self, port: int) -> Iterator[None]:
        """Another program listens on UDP `port` of this host."""
        program = (
            f"import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('', {port}))"
        )
        taker = self.popen(
            sys.executable, "-c", f"import signal; {program}; print(flush=True); signal.pause()"
        )
        assert taker.stdout is not None
        taker.stdout.readline()
        try:
            yield
        finally:
            taker.kill()
            taker.communicate()

    def processes(self) -> list[int]:
        """Everything that runs in this host, apart from what holds it."""
        here = Path(f"/proc/{self.pid}/ns/net").stat().st_ino
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if (directory / "ns/net").stat().st_ino == here and int(directory.name) != self.pid:
                    found.append(int(directory.name))
            except OSError:
                continue
        return found

    def end(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait()


def wire(left: Host, right: Host, subnet: int) -> None:
    """Joins two hosts by a cable: 10.9.SUBNET.1 and .2, fd09:SUBNET::1 and ::2 on `eth0`."""
    subprocess.run(
        [
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            str(left.pid),
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(right.pid),
        ],
        check=True,
    )
    for number, host in enumerate((left, right), 1):
        host.run("ip", "address", "add", f"10.9.{subnet}.{number}/24", "dev", "eth0")
        host.run("ip", "address", "add", f"fd09:{subnet}::{number}/64", "dev", "eth0", "nodad")
        host.run("ip", "link", "set", "eth0", "up")


@contextmanager
def hosts(count: int, inside: Host | None = None) -> Iterator[list[Host]]:
    """That many hosts, removed at the end with all that ran in them."""
    made: list[Host] = []
    try:
        for _ in range(count):
            made.append(Host(inside))
        yield made
    finally:
        for host in made:
            host.end()


class Agent:
    """A process on a host with one back end; `async with` starts and ends it, `kill` is SIGKILL."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        command = self._host.inside(sys.executable, str(_AGENT))
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=2**28)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        if kind is not None and process.returncode is None:
            process.kill()
        await process.wait()
        # Python 3.11 leaves the transport to the collector, which warns.
        process._transport.close()  # type: ignore[attr-defined]

    def __getattr__(self, method: str) -> Callable[..., Any]:
        async def call(*arguments: object) -> Any:
            process = self._process
            assert process is not None
            assert process.stdin is not None
            assert process.stdout is not None
            body = pickle.dumps((method, arguments))
            process.stdin.write(LENGTH.pack(len(body)) + body)
            await process.stdin.drain()
            (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
            result, error = pickle.loads(await process.stdout.readexactly(length))
            if error is not None:
                raise error
            return result

        return call

    async def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


class Ping:
    """Pings every 10 ms until asked what was `lost`."""

    def __init__(self, host: Host, address: str) -> None:
        # A file, not a pipe: no process reads while it runs, and a full pipe would stop it.
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `finish`
        self._process = subprocess.Popen(
            host.inside("ping", "-i", "0.01", "-n", address), stdout=self._output, stderr=subprocess.STDOUT
        )

    def until_reply(self) -> None:
        """Returns after the next reply from now on."""
        before = self._text().count("bytes from")
        until(lambda: self._text().count("bytes from") > before, f"a reply; {self._text()[-300:]}")

    def lost(self) -> set[int]:
        """Ends the pinging; the numbers without an answer up to the last that has one.

        What is on its way when a ping is stopped is not lost, though ping counts it so.
        """
        self.until_reply()
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", self._text())}
        self._output.close()
        return set(range(1, max(answered) + 1)) - answered

    def _text(self) -> str:
        return _written(self._output)
