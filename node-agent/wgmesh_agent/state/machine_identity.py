"""Identity of the machine that a state directory belongs to, from facts that a copy of its disk does not include.

`/etc/machine-id` differs on a clone that was prepared properly (machine-id(5)); the product UUID of the board or the
virtual machine, and permanent hardware addresses, differ on every clone. Compare tailscale/tailscale#506. Only
salted hashes are stored: systemd asks not to publish the id itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgmesh_agent.linux.rtnetlink import open_rtnetlink
from wgmesh_agent.wireguard.errors import KernelError

MACHINE_ID, PRODUCT = Path("etc/machine-id"), Path("sys/class/dmi/id/product_uuid")
MAX_BYTES = 256
_UNINITIALIZED = "uninitialized"
_NO_PRODUCT = ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
_ETHER = 1
_SALT = b"wgmesh machine\0"
_HASH_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine by hashes; empty fields are unknown.

    Attributes:
        machine_id: of the installed system.
        product: of the board, or the virtual machine.
        hardware: permanent addresses of its network interfaces.
    """

    machine_id: str = ""
    product: str = ""
    hardware: frozenset[str] = frozenset()

    def is_known(self) -> bool:
        return bool(self.machine_id or self.product or self.hardware)

    def is_other(self, present: Machine) -> bool:
        """Returns whether `present` is certainly another machine than this one. A new network interface, or a fact
        that cannot be read just now, does not make it another machine; nor does a system that gets a new id at each
        boot, on the same board."""
        other_card = bool(self.hardware and present.hardware and not self.hardware & present.hardware)
        same_card = bool(self.hardware & present.hardware)
        if self.product and present.product:
            if self.product != present.product:
                return True
            return _differ(self.machine_id, present.machine_id) and not same_card
        return _differ(self.machine_id, present.machine_id) or other_card

    def with_news(self, present: Machine) -> Machine:
        """Returns the facts to store: the current value if known, else the previous one."""
        return Machine(
            present.machine_id or self.machine_id,
            present.product or self.product,
            present.hardware or self.hardware,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "machineId": self.machine_id,
            "product": self.product,
            "hardware": sorted(self.hardware),
        }


def from_json(content: Any) -> Machine:
    """Raises KeyError, TypeError or ValueError for anything but the output of `to_json`."""
    hardware = content["hardware"]
    if not isinstance(hardware, list):
        raise TypeError("hardware addresses are not a list")
    return Machine(str(content["machineId"]), str(content["product"]), frozenset(map(str, hardware)))


def this_machine(root: Path = Path("/")) -> Machine:
    """Returns the facts about this machine; blocks. `root`: prefix of its files."""
    machine_id, product = _read(root / MACHINE_ID), _read(root / PRODUCT)
    return Machine(
        _hashed(machine_id) if machine_id != _UNINITIALIZED else "",
        _hashed(product) if product not in _NO_PRODUCT else "",
        frozenset(map(_hashed, _cards())),
    )


def _differ(before: str, now: str) -> bool:
    return bool(before and now and before != now)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("ascii", "replace").strip().lower()
    except OSError:
        return ""


def _cards() -> Iterable[str]:
    """Permanent hardware addresses; virtual interfaces have none."""
    try:
        with open_rtnetlink("listing network cards") as ipr:
            found = [
                str(address).lower()
                for link in ipr.link("dump")
                if link["ifi_type"] == _ETHER and (address := link.get_attr("IFLA_PERM_ADDRESS"))
            ]
    except KernelError:
        return []
    return [address for address in found if address.replace(":", "").strip("0")]


def _hashed(fact: str) -> str:
    return hashlib.sha256(_SALT + fact.encode()).hexdigest()[:_HASH_CHARACTERS] if fact else ""
