"""Userspace WireGuard: `wireguard-go` on a TUN device, configured over its socket, restarted when it dies."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence

from wgmesh_agent.linux import rtnetlink, wireguard_interface
from wgmesh_agent.linux.backends.wireguard_go import PROGRAM, WireGuardGo
from wgmesh_agent.linux.netlink_thread import NetlinkThread
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.wireguard.backend import BackendKind, OpenResult
from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.errors import BackEndError, ForeignInterfaceError, InterfaceGoneError, UapiError
from wgmesh_agent.wireguard.keys import KEY_BYTES, PublicKey
from wgmesh_agent.wireguard.model import Device, InterfaceSpec, check_interface_name
from wgmesh_agent.wireguard.patch import endpoint_write_times
from wgmesh_agent.wireguard.uapi import GET, decode_get, decode_set_reply, encode_set, fingerprint

BACKOFF = Backoff(first_seconds=0.1, longest_seconds=30.0)
"""Pauses before a process that exited is restarted: none at first, then longer with each failure or exit within a
minute.
"""
END_SECONDS = 2.0
_STEADY_SECONDS = 60.0


class UserspaceBackend:
    """A `Backend` on `wireguard-go`, which keeps running while this process restarts, upgrades or is killed."""

    kind = BackendKind.USERSPACE

    def __init__(
        self,
        name: str,
        *,
        program: str = PROGRAM,
        process: WireGuardGo | None = None,
        on_restarted: Callable[[], None] = lambda: None,
        on_trouble: Callable[[BackEndError], None] = lambda error: None,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`program` is the path of `wireguard-go`; `clock` gives unix seconds.

        `on_restarted` is called (from the event loop) when the process died and a new one is running: its interface is
        set up, but it has no key and no peers, so read, diff and apply. `on_trouble` receives failures in between.
        """
        check_interface_name(name)
        self.name = name
        self._on_restarted = on_restarted
        self._on_trouble = on_trouble
        self._clock = clock
        self._random_bytes = random_bytes
        self._worker = NetlinkThread(f"wireguard-{name}")
        self._process = process or WireGuardGo(name, program)
        self._lock = asyncio.Lock()
        self._spec: InterfaceSpec | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._written: dict[PublicKey, float] = {}

    async def open(self, spec: InterfaceSpec) -> OpenResult:
        if spec.name != self.name:
            raise ValueError(f"this back end is for {self.name}, not {spec.name}")
        async with self._lock:
            await self._end_supervision()
            adopted, differed = await self._set_up(spec)
            self._spec = spec
            self._supervision = asyncio.create_task(self._supervise(), name=f"supervising {self.name}")
        return OpenResult(adopted, differed if adopted else ("it did not exist",))

    async def read(self) -> Device:
        async with self._lock:
            return await self._read()

    async def fingerprint(self) -> int:
        async with self._lock:
            return fingerprint(await self._process.exchange(GET))

    async def apply(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        async with self._lock:
            request = await self._worker.run(encode_set, changes, self._scratch_key)
            decode_set_reply(await self._process.exchange(request))
            self._written = endpoint_write_times(self._written, changes, now_unix=self._clock())

    async def close(self) -> None:
        # First: it may hold the lock for long, waiting for a process that is not started any more.
        await self._end_supervision()
        async with self._lock:
            self._process.detach()
            self._worker.close()

    async def destroy(self) -> None:
        await self._end_supervision()
        async with self._lock:
            answers = await self._process.connect()
            self._process.withdraw_request()
            if await self._worker.run(self._remove_link):
                await self._process.stop()
            elif not answers:
                self._process.clear()
            self._process.detach()
            self._written = {}

    async def _set_up(self, spec: InterfaceSpec) -> tuple[bool, tuple[str, ...]]:
        """Finds or starts the process, and configures its interface; returns whether it was found, and the
        differences.
        """
        found = await self._find()
        if not found:
            await self._process.start()
            self._written = {}
        return found, await self._worker.run(self._settle, spec)

    async def _find(self) -> bool:
        """Whether a process of ours is running; raises `ForeignInterfaceError` for a foreign one."""
        link = await self._worker.run(self._link)
        answers = await self._process.connect()
        if link is None:
            if answers and self._spec is not None and await self._has_ended():
                return False
            if answers:
                # The directory of sockets is shared by all network namespaces of a host.
                raise ForeignInterfaceError(
                    f"{self._process.socket_path} answers, but interface {self.name} is not in this network "
                    "namespace: choose another mesh name, or stop that process"
                )
            return False
        wireguard_interface.require_kind(link, "tun")
        if not answers:
            raise ForeignInterfaceError(
                f"interface {self.name} exists, but no WireGuard answers at {self._process.socket_path}: choose "
                "another mesh name, or remove it"
            )
        if link.alias != wireguard_interface.ALIAS and not await self._is_unconfigured():
            raise wireguard_interface.foreign_interface_error(link)
        return True

    async def _has_ended(self) -> bool:
        """The interface was removed by another program: the process ends after it, which takes a moment."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait_ended()
        except TimeoutError:
            return False
        return True

    async def _is_unconfigured(self) -> bool:
        device = await self._read()
        return device.public_key is None and not device.peers

    async def _read(self) -> Device:
        self._process.trim_log()
        reply = await self._process.exchange(GET)
        return await self._worker.run(decode_get, reply, self.name, self._written)

    def _link(self) -> wireguard_interface.InterfaceInfo | None:
        with rtnetlink.open_rtnetlink(f"looking up interface {self.name}") as ipr:
            return wireguard_interface.find_interface(ipr, self.name)

    def _settle(self, spec: InterfaceSpec) -> tuple[str, ...]:
        with rtnetlink.open_rtnetlink(f"setting up interface {self.name}") as ipr:
            link = wireguard_interface.find_interface(ipr, self.name)
            if link is None:
                raise InterfaceGoneError(
                    f"interface {self.name} does not exist: {PROGRAM} has just terminated"
                )
            return wireguard_interface.apply_spec(ipr, link, spec)

    def _remove_link(self) -> bool:
        """Whether an interface of ours existed; its process ends with it."""
        with rtnetlink.open_rtnetlink(f"removing interface {self.name}") as ipr:
            wireguard_interface.clear(ipr, self.name)
            link = wireguard_interface.find_interface(ipr, self.name)
            ours = link is not None and link.kind == "tun" and link.alias == wireguard_interface.ALIAS
            if link is not None and ours:
                wireguard_interface.remove_interface(ipr, link)
            return ours

    def _scratch_key(self) -> PublicKey:
        return PublicKey(self._random_bytes(KEY_BYTES))

    async def _supervise(self) -> None:
        """Restarts the process whenever it dies, with the last requested interface. Failures are reported, and
        supervision continues.
        """
        loop = asyncio.get_running_loop()
        pause = 0.0
        while True:
            began = loop.time()
            try:
                await self._process.wait_ended()
            except Exception as error:
                self._tell(error)
            if loop.time() - began > _STEADY_SECONDS:
                pause = 0.0
            while True:
                await asyncio.sleep(pause)
                pause = BACKOFF.longer(pause)
                if await self._set_up_again():
                    break

    async def _set_up_again(self) -> bool:
        try:
            async with self._lock:
                if self._spec is not None:
                    await self._set_up(self._spec)
            self._on_restarted()
        except Exception as error:
            self._tell(error)
            return False
        return True

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, BackEndError):
            error = UapiError(f"supervising {PROGRAM} {self.name}: {error!r}")
        self._on_trouble(error)

    async def _end_supervision(self) -> None:
        task, self._supervision = self._supervision, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
