"""What takes part in a pass of the reconciler, beside the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import DesiredDevice, Device, InterfaceSpec, Network


class DeviceTransform(Protocol):
    """Shapes peers: applied one after the other, in the order of the composition."""

    def refine(self, desired: DesiredDevice, actual: Device, now_unix: float) -> DesiredDevice:
        """What to make of the desired device, given what the device holds."""


class DeviceObserver(Protocol):
    """Is shown the device at the beginning of each pass."""

    def observe(self, device: Device) -> None:
        """Exactly as read, before anything is made of it."""


class InterfacePlan(Protocol):
    """What the interface itself is to be, and which networks are behind which peer."""

    def interface_spec(self) -> InterfaceSpec:
        """Name, addresses, MTU and routes."""

    def allowed_ips(self) -> Mapping[PublicKey, Sequence[Network]]:
        """The networks behind peers, by key."""
