"""A `wireguard-go` process that outlives its agent: started, found again by its socket, monitored, terminated.

It has its own process group, so that neither an interrupt nor a hang-up of the agent's terminal reaches it, and its
output goes to a file: a pipe to the agent would kill it with the agent. It has no session of its own: the kernel
distributes processor time by sessions, and two ends of a tunnel on one machine lost 15 % of their throughput by it. Its
liveness is detected by an open connection to its socket, the same for a process started now and one that was found.
"""

import asyncio
import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wgmesh_agent.linux.backends.priority import come_first
from wgmesh_agent.wireguard.errors import BackEndUnavailableError, UapiError
from wgmesh_agent.wireguard.uapi import MAX_REPLY_BYTES, SUCCEEDED

PROGRAM = "wireguard-go"
SOCKETS = Path("/var/run/wireguard")
"""Directory in which `wg` and every userspace WireGuard keep their sockets (wireguard.com/xplatform)."""
MAX_LOG_BYTES = 256 * 1024
"""The output file is emptied when it is longer than this."""
_START_SECONDS = 10.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.01
_ANSWER_SECONDS = 30.0
_STREAM = socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_RECEIVE_BYTES = 256 * 1024
_CREDENTIALS = struct.Struct("=iII")
_SPOKEN_LINES = 3
_BOX = "┌│└"
_STAMP = re.compile(r"ERROR: \(\S+\) [0-9/]+ [0-9:.]+ ")
_ERROR = ("ERROR", "Failed", "panic:", "fatal error:")


class WireGuardGo:
    """The process of interface `name`, whichever program started it."""

    def __init__(self, name: str, program: str, directory: Path = SOCKETS) -> None:
        self.socket_path = directory / f"{name}.sock"
        self.log_path = directory / f"{name}.log"
        self._name = name
        self._program = program
        self._watch: socket.socket | None = None
        self._asked: socket.socket | None = None
        self._descriptor: int | None = None
        self._log_start = 0

    async def connect(self) -> bool:
        """Opens a connection to the process; False if none answers there. Raises `UapiError` if the path cannot hold a
        socket, and if descriptors are exhausted.
        """
        self.detach()
        try:
            watch = socket.socket(socket.AF_UNIX, _STREAM)
        except OSError as error:
            raise UapiError(f"cannot look up {PROGRAM} {self._name}: {error.strerror}") from error
        try:
            await asyncio.get_running_loop().sock_connect(watch, str(self.socket_path))
        except (FileNotFoundError, ConnectionRefusedError):
            watch.close()
            return False
        except OSError as error:
            watch.close()
            raise UapiError(f"cannot use {self.socket_path}: {error.strerror}") from error
        except BaseException:
            watch.close()
            raise
        self._watch = watch
        self._descriptor = _process_behind(watch)
        return True

    async def start(self) -> None:
        """Starts it and waits until its socket answers; raises `UapiError` with its last output if it terminates
        instead.
        """
        pid, has_ended = self._spawn(), False
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self.connect():
                    if has_ended := _has_ended(pid):
                        raise UapiError(f"{PROGRAM} {self._name} terminated at once: {self._last_words()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except BaseException as error:
            # Also when the agent is to leave: a process that continues would create its interface after everything
            # was removed.
            if not has_ended:
                _kill_child(pid)
            if not isinstance(error, TimeoutError):
                raise
            raise UapiError(
                f"{PROGRAM} {self._name} did not create its socket within {_START_SECONDS} s"
            ) from error

    def _spawn(self) -> int:
        """Raises `UapiError` if its folder or output file cannot be written, `BackEndUnavailableError` without the
        program.
        """
        with writing(self.socket_path.parent):
            self.socket_path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.trim_log()
            self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log_path), output, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        arguments = [PROGRAM, "-f", self._name]
        # Nothing else of this program's environment, which may contain secrets.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": "error"}
        try:
            return os.posix_spawnp(
                self._program,
                arguments,
                environment,
                file_actions=actions,
                setpgroup=0,
                # Python ignores this signal, and ignored signals are inherited.
                setsigdef=[signal.SIGPIPE],
            )
        except OSError as error:
            raise BackEndUnavailableError(f"cannot start {self._program}: {error.strerror}") from error

    async def wait_ended(self) -> None:
        """Returns when the process has ended, and its interface with it. Only one task may wait."""
        loop = asyncio.get_running_loop()
        watch, descriptor = self._watch, self._descriptor
        if watch is None:
            return
        with suppress(OSError):
            # It sends nothing unrequested: any data marks its end.
            while await loop.sock_recv(watch, 4096):
                continue
        if descriptor is not None:
            # The connection closes first, the interface is removed a little later, and last of all this becomes
            # readable.
            gone = asyncio.Event()
            loop.add_reader(descriptor, gone.set)
            try:
                await gone.wait()
            finally:
                loop.remove_reader(descriptor)
            # As a child (also one adopted as process 1 of a container) it would remain a zombie.
            _reap(descriptor)

    def withdraw_request(self) -> None:
        """Its interface is about to be removed: it must not be restarted."""

    async def stop(self) -> None:
        """Waits until it has ended after its interface was removed; terminates it if it does not."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self.wait_ended()
        except TimeoutError:
            self._kill()
            await self.wait_ended()
        self.detach()
        self.clear()

    def clear(self) -> None:
        """Removes the leftovers of an ended process; `start` created the output file, so without it:
        nothing. Raises `UapiError`.
        """
        with writing(self.socket_path.parent):
            if self.log_path.exists():
                self.socket_path.unlink(missing_ok=True)
                self.log_path.unlink(missing_ok=True)

    def detach(self) -> None:
        """Stops monitoring; the process keeps running."""
        for connection in (self._watch, self._asked):
            if connection is not None:
                connection.close()
        self._watch = self._asked = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    async def exchange(self, request: bytes) -> bytes:
        """One operation at a time; raises `UapiError` without a complete answer.

        The connection is kept for the next one: opening one costs both ends more than a request.
        """
        connection, self._asked = self._asked, None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = connection or await _connected(str(self.socket_path))
                answer = await _exchange(connection, request)
                # After an error it may treat the rest of the request as the next one.
                if answer.endswith(SUCCEEDED):
                    self._asked, connection = connection, None
                return answer
        except TimeoutError as error:
            raise UapiError(f"{PROGRAM} {self._name} did not answer in {_ANSWER_SECONDS} s") from error
        except OSError as error:
            raise UapiError(
                f"{PROGRAM} {self._name} does not answer at {self.socket_path}: {error}"
            ) from error
        finally:
            if connection is not None:
                connection.close()

    def trim_log(self) -> None:
        """Empties the output file if it has grown too long; the next output starts it again."""
        with suppress(OSError):
            if self.log_path.stat().st_size > MAX_LOG_BYTES:
                os.truncate(self.log_path, 0)

    def _last_words(self) -> str:
        try:
            said = self.log_path.read_bytes()[self._log_start :].decode("utf-8", "replace")
        except OSError:
            said = ""
        return stderr_tail(said)

    def _kill(self) -> None:
        if self._descriptor is None:
            raise UapiError(f"the process at {self.socket_path} does not exit: stop it manually")
        # It may be ending just now, and be no child of ours, which would wait for us to reap it.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)


async def _connected(path: str) -> socket.socket:
    """Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, _STREAM)
    try:
        await asyncio.get_running_loop().sock_connect(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


async def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """The answer up to its empty line. Without asyncio's streams, which cost several times as much. Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, request)
    answer = bytearray()
    while not answer.endswith(b"\n\n"):
        part = await loop.sock_recv(connection, _RECEIVE_BYTES)
        answer += part
        if not part or len(answer) > MAX_REPLY_BYTES:
            raise ConnectionError(f"no complete answer in {len(answer)} bytes")
    return bytes(answer)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raises `UapiError` if the folder of the sockets is not a folder, read-only or full."""
    try:
        yield
    except OSError as error:
        raise UapiError(f"cannot write in {folder}, where {PROGRAM} listens: {error.strerror}") from error


def stderr_tail(said: str) -> str:
    """Why it terminated, from its output: the last lines, and only the errors among them if there are any.

    First of all it prints a box with the advice to use the kernel's WireGuard.
    """
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and line[0] not in _BOX]
    errors = [line for line in lines if line.startswith(_ERROR)]
    return (
        " / ".join(_STAMP.sub("", line) for line in (errors or lines)[-_SPOKEN_LINES:])
        or "it printed nothing"
    )


def _has_ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def _kill_child(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _reap(descriptor: int) -> None:
    with suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOHANG)


def _process_behind(connection: socket.socket) -> int | None:
    """A descriptor of the process that listens there; None if it is not visible from here or is another program.

    The kernel records the process that started to listen. It may have ended, and its number been reused; held by a
    descriptor, it cannot change after its name was checked.
    """
    pid, _, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text("utf-8").strip() == PROGRAM:
            come_first(pid)
            return descriptor
    os.close(descriptor)
    return None
