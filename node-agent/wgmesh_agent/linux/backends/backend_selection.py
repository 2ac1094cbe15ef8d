"""Backend selection: the configured one; otherwise the one that is running, the kernel's, or wireguard-go."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wgmesh_agent.linux import rtnetlink, wireguard_interface
from wgmesh_agent.linux.backends.external_process import ExternalProcess
from wgmesh_agent.linux.backends.kernel import KernelBackend
from wgmesh_agent.linux.backends.userspace import UserspaceBackend
from wgmesh_agent.linux.backends.wireguard_go import PROGRAM
from wgmesh_agent.linux.genetlink import Genetlink
from wgmesh_agent.wireguard.backend import Backend, BackendKind
from wgmesh_agent.wireguard.errors import BackEndError, BackEndUnavailableError
from wgmesh_agent.wireguard.genl import FAMILY
from wgmesh_agent.wireguard.model import check_interface_name

AUTO = "auto"
PREFERENCES = (AUTO, *(kind.value for kind in BackendKind))
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True, slots=True)
class SelectedBackend:
    """The selected back end; `reason` is one line for the log. `program` is the path of `wireguard-go`, if that is
    selected.
    """

    kind: BackendKind
    reason: str
    program: str = PROGRAM
    external_process: bool = False
    """Another program runs the process: this one only requests it."""

    def backend(
        self,
        name: str,
        *,
        on_restarted: Callable[[], None] = lambda: None,
        on_trouble: Callable[[BackEndError], None] = lambda error: None,
    ) -> Backend:
        """A back end of this kind for interface `name`; the callbacks are `UserspaceBackend`'s."""
        if self.kind is BackendKind.KERNEL:
            return KernelBackend(name)
        process = ExternalProcess(name, self.program) if self.external_process else None
        return UserspaceBackend(
            name, program=self.program, process=process, on_restarted=on_restarted, on_trouble=on_trouble
        )


async def select_backend(preference: str, name: str) -> SelectedBackend:
    """The back end for interface `name` by `preference`: `auto`, `kernel` or `userspace` (else `ValueError`).

    Raises `BackEndUnavailableError`, which names the package to install, if this machine has none.
    """
    if preference not in PREFERENCES:
        raise ValueError(f"back end {preference!r} is not one of {', '.join(PREFERENCES)}")
    check_interface_name(name)
    return await asyncio.to_thread(_choose, preference, name)


def missing_requirements() -> tuple[str, str]:
    """Why there is no kernel WireGuard on this machine, and why no wireguard-go; empty if there is. Blocks."""
    return _why_not(_require_kernel), _why_not(_require_program)


def _why_not(require: Callable[[], object]) -> str:
    try:
        require()
    except BackEndError as error:
        return str(error)
    return ""


def _choose(preference: str, name: str) -> SelectedBackend:
    if preference == BackendKind.KERNEL.value:
        _require_kernel()
        return SelectedBackend(BackendKind.KERNEL, "kernel WireGuard, as configured")
    if preference == BackendKind.USERSPACE.value:
        return SelectedBackend(BackendKind.USERSPACE, "wireguard-go, as configured", _require_program())
    if _has_tun_of_ours(name):
        return SelectedBackend(
            BackendKind.USERSPACE, f"wireguard-go, because it already runs {name}", _require_program()
        )
    try:
        _require_kernel()
    except BackEndUnavailableError as lacking:
        try:
            program = _require_program()
        except BackEndUnavailableError as also_lacking:
            raise BackEndUnavailableError(
                f"no WireGuard here: {lacking}, and {also_lacking}"
            ) from also_lacking
        return SelectedBackend(
            BackendKind.USERSPACE, f"wireguard-go at {program}, because {lacking}", program
        )
    return SelectedBackend(BackendKind.KERNEL, "kernel WireGuard, because the kernel has it")


def _has_tun_of_ours(name: str) -> bool:
    with rtnetlink.open_rtnetlink(f"looking up interface {name}") as ipr:
        link = wireguard_interface.find_interface(ipr, name)
    return link is not None and link.kind == "tun" and link.alias == wireguard_interface.ALIAS


def _require_kernel() -> None:
    # Requesting the family also makes the kernel load the module, if it has one.
    Genetlink(FAMILY).close()


def _require_program() -> str:
    program = shutil.which(PROGRAM)
    if program is None:
        raise BackEndUnavailableError(f"{PROGRAM} is not installed (Debian package {PROGRAM})")
    if not _TUN.exists():
        raise BackEndUnavailableError(f"{_TUN} is missing, so {PROGRAM} cannot create its interface")
    return program
