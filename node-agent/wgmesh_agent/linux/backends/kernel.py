"""The kernel's own WireGuard: rtnetlink for the interface, generic netlink for its peers."""

import errno
import os
import time
from collections.abc import Callable, Sequence

from wgmesh_agent.linux import rtnetlink, wireguard_interface
from wgmesh_agent.linux.genetlink import Genetlink
from wgmesh_agent.linux.netlink_thread import NetlinkThread
from wgmesh_agent.wireguard.backend import BackendKind, OpenResult
from wgmesh_agent.wireguard.diff import Change
from wgmesh_agent.wireguard.errors import BackEndError, InterfaceGoneError, KernelError
from wgmesh_agent.wireguard.genl import FAMILY, decode_device, encode_get, encode_set, fingerprint
from wgmesh_agent.wireguard.keys import KEY_BYTES, PublicKey
from wgmesh_agent.wireguard.model import Device, InterfaceSpec, check_interface_name
from wgmesh_agent.wireguard.patch import endpoint_write_times


class KernelBackend:
    """A `Backend` on kernel WireGuard. All blocking calls run in one thread, which owns the netlink socket."""

    kind = BackendKind.KERNEL

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`name` is the interface's; `clock` gives unix seconds, as in the timestamps of handshakes."""
        check_interface_name(name)
        self.name = name
        self._clock = clock
        self._random_bytes = random_bytes
        self._worker = NetlinkThread(f"wireguard-{name}")
        self._netlink: Genetlink | None = None
        self._written: dict[PublicKey, float] = {}

    async def open(self, spec: InterfaceSpec) -> OpenResult:
        if spec.name != self.name:
            raise ValueError(f"this back end is for {self.name}, not {spec.name}")
        return await self._worker.run(self._open, spec)

    async def read(self) -> Device:
        return await self._worker.run(self._read)

    async def fingerprint(self) -> int:
        return await self._worker.run(lambda: fingerprint(self._dump()))

    async def apply(self, changes: Sequence[Change]) -> None:
        if changes:
            await self._worker.run(self._apply, tuple(changes))

    async def close(self) -> None:
        if self._netlink is not None:
            await self._worker.run(self._netlink.close)
            self._netlink = None
        self._worker.close()

    async def destroy(self) -> None:
        await self._worker.run(self._destroy)
        self._written = {}

    def _socket(self) -> Genetlink:
        if self._netlink is None:
            self._netlink = Genetlink(FAMILY)
        return self._netlink

    def _open(self, spec: InterfaceSpec) -> OpenResult:
        self._socket()
        with rtnetlink.open_rtnetlink(f"setting up interface {self.name}") as ipr:
            link = wireguard_interface.find_interface(ipr, self.name)
            adopted = link is not None
            if link is None:
                wireguard_interface.create_wireguard(ipr, self.name)
                link = wireguard_interface.find_interface(ipr, self.name)
                if link is None:
                    raise InterfaceGoneError(f"interface {self.name} disappeared as soon as it was created")
            else:
                wireguard_interface.require_kind(link, "wireguard")
                if link.alias != wireguard_interface.ALIAS and not self._is_unconfigured():
                    raise wireguard_interface.foreign_interface_error(link)
            differed = wireguard_interface.apply_spec(ipr, link, spec)
        return OpenResult(adopted, differed if adopted else ("it did not exist",))

    def _is_unconfigured(self) -> bool:
        """Not configured yet: also true of an interface left by a process that died between creating and marking it."""
        device = self._read()
        return device.public_key is None and not device.peers

    def _read(self) -> Device:
        return decode_device(self._dump(), self.name, self._written)

    def _dump(self) -> list[bytes]:
        try:
            return self._socket().dump(encode_get(self.name))
        except KernelError as error:
            raise self._named(error, "reading") from error.__cause__

    def _apply(self, changes: tuple[Change, ...]) -> None:
        netlink = self._socket()
        try:
            for payload in encode_set(self.name, changes, self._scratch_key):
                netlink.request(payload)
        except KernelError as error:
            raise self._named(error, "setting") from error.__cause__
        self._written = endpoint_write_times(self._written, changes, now_unix=self._clock())

    def _named(self, error: KernelError, doing: str) -> BackEndError:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENODEV, errno.ENXIO):
            return InterfaceGoneError(f"{doing} {self.name}: the interface does not exist")
        advice = ": choose another WireGuard port" if _is_port_taken(cause) else ""
        return KernelError(f"{doing} {self.name}: {error}{advice}")

    def _scratch_key(self) -> PublicKey:
        return PublicKey(self._random_bytes(KEY_BYTES))

    def _destroy(self) -> None:
        with rtnetlink.open_rtnetlink(f"removing interface {self.name}") as ipr:
            wireguard_interface.clear(ipr, self.name)
            link = wireguard_interface.find_interface(ipr, self.name)
            if link is not None and link.kind == "wireguard" and link.alias == wireguard_interface.ALIAS:
                wireguard_interface.remove_interface(ipr, link)


def _is_port_taken(cause: BaseException | None) -> bool:
    return isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
