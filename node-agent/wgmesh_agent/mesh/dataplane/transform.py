"""Ports of components that contribute to the desired device, in addition to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, InterfaceSpec, Network


class DeviceTransform(Protocol):
    """Modifies peers; transforms are applied in the order of the composition."""

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """The modified desired device, given the current one."""


class DeviceObserver(Protocol):
    """Receives the device at the beginning of each pass."""

    def observe(self, device: Device) -> None:
        """The device exactly as read."""


class InterfacePlan(Protocol):
    """Desired interface, and the networks behind each peer."""

    def interface_spec(self) -> InterfaceSpec:
        """Name, addresses, MTU and routes."""

    def allowed_ips(self) -> Mapping[PublicKey, Sequence[Network]]:
        """The networks behind peers, by key."""
