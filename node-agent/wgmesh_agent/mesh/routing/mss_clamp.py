"""MSS clamping: keeps the nftables table of `routing.mss_ruleset` in place while this machine forwards packets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from wgmesh_agent.linux.nft import Nft
from wgmesh_agent.mesh.dataplane.transform import InterfacePlan
from wgmesh_agent.mesh.routing.mss_ruleset import removal_ruleset, ruleset, table_name
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.runtime.clock import Clock
from wgmesh_agent.runtime.log_on_change import LogOnChange
from wgmesh_agent.wireguard.model import InterfaceSpec

log = structlog.get_logger()
CHECK_SECONDS = 60.0
GATHER_SECONDS = 0.2
FORWARDING_SYSCTLS = ("ipv4/ip_forward", "ipv4/conf/{}/forwarding", "ipv6/conf/all/forwarding")


class MSSClamp:
    """Clamps the MSS on one interface; `run` beside a node that may route."""

    def __init__(
        self,
        interface: str,
        plan: InterfacePlan,
        changes: Signal,
        nft: Nft,
        clock: Clock,
        net: Path,
    ) -> None:
        """
        Args:
            changes: notified when `plan` may have other routes.
            net: the folder of the kernel's network sysctls, /proc/sys/net.
        """
        self._interface = interface
        self._plan = plan
        self._changes = changes
        self._nft = nft
        self._clock = clock
        self._net = net
        self._standing: str | None = None
        """The ruleset in place, empty for no table; None: unknown."""
        self._fault = LogOnChange()

    async def run(self) -> None:
        """Reconciles after every change, and every minute in case of foreign changes to the table, until cancelled."""
        checked = self._clock.monotonic()
        while True:
            generation = self._changes.generation
            check = self._clock.monotonic() >= checked + CHECK_SECONDS
            if check:
                checked = self._clock.monotonic()
            await self.apply(self._plan.interface_spec(), check=check)
            if await self._changes.wait_after(generation, CHECK_SECONDS):
                # Changes come in bursts, and each check reads files.
                await asyncio.sleep(GATHER_SECONDS)

    async def apply(self, spec: InterfaceSpec, *, check: bool = True) -> None:
        """Installs the table if this machine forwards packets of the interface; otherwise removes it.

        Args:
            check: verify that no other program has removed it.
        """
        wanted = (
            ruleset(self._interface, spec.mtu, (*spec.peer_routes, *spec.subnet_routes))
            if is_forwarding(self._interface, self._net)
            else ""
        )
        if wanted == self._standing and not (wanted and check and not await self._is_in_place()):
            return
        if wanted:
            done = await self._run(wanted)
        else:
            done = await self.remove()
        if done:
            self._standing = wanted

    async def remove(self) -> bool:
        """Removes the table, if the program that could have created it exists."""
        return self._is_done(await remove_clamp(self._interface, self._nft))

    async def _is_in_place(self) -> bool:
        return not await self._nft.run("list", "table", "inet", table_name(self._interface))

    async def _run(self, text: str) -> bool:
        return self._is_done(await self._nft.run("-f", "-", text=text))

    def _is_done(self, error: str) -> bool:
        if self._fault.is_new(error):
            log.warning("cannot clamp the TCP MSS of forwarded traffic", error=error)
        return not error


async def remove_clamp(interface: str, nft: Nft) -> str:
    """Removes the table, if the program that could have created it exists. Returns the error; empty: removed."""
    return await nft.run("-f", "-", text=removal_ruleset(interface)) if nft.is_installed() else ""


def is_forwarding(interface: str, net: Path) -> bool:
    """Whether this machine forwards packets that come from the interface, or go to it."""
    for switch in FORWARDING_SYSCTLS:
        try:
            if (net / switch.format(interface)).read_text().strip() not in ("", "0"):
                return True
        except OSError as error:
            # The kernel has no IPv6, or the interface does not exist yet.
            log.debug("cannot read forwarding sysctl", switch=switch, error=str(error))
    return False
