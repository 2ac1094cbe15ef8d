"""Lets a member relay: what comes out of the tunnel may go back into it, and, where this program opened that door,
nowhere else.

Without nftables: routing rules that name the interface packets came in by. Packets for this machine itself never reach
them. Blocking, like `links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import KernelError
from ..model import ROUTE_PROTOCOL, Network
from .links import rtnetlink

PRIORITY = 8787
"""Of the rules: before the main table's 32766, behind that of this machine's own addresses."""
_AF_INET, _MAIN_TABLE = 2, 254
_SETTINGS = Path("/proc/sys/net")

Rule = dict[str, Any]


def allow(name: str, ranges: Iterable[Network]) -> None:
    """Forwards between peers of interface `name`; on a machine that forwards from there anyway nothing is changed.

    Raises:
        KernelError: it cannot be switched on from here; one sentence.
    """
    wanted = list(ranges)
    if any(one.version == 6 for one in wanted) and _read(_SETTINGS / "ipv6/conf/all/forwarding") == "0":
        # Switching it on would change how this machine takes router advertisements, on all its interfaces.
        raise KernelError(
            "IPv6 is not forwarded here: set sysctl net.ipv6.conf.all.forwarding=1 if it is to be"
        )
    ranges_4 = [one for one in wanted if one.version == 4]
    ours = _rules(name)
    if ranges_4 and (ours or _read(_switch(name)) == "0"):
        _confine(name, ranges_4, ours)
        _write(_switch(name), "1")


def withdraw(name: str) -> None:
    """Undoes `allow`, and nothing else; nothing to do if it was never called. Raises KernelError."""
    ours = _rules(name)
    if not ours:
        return
    if _switch(name).exists():
        _write(_switch(name), "0")
    with rtnetlink(f"removing routing rules of {name}") as ipr:
        for rule in ours:
            ipr.rule("del", **rule)


def _confine(name: str, ranges: Sequence[Network], ours: list[Rule]) -> None:
    wanted = [_rule(name, PRIORITY + 1, action="FR_ACT_UNREACHABLE")]
    wanted += [
        _rule(name, PRIORITY, dst=str(one.network_address), dst_len=one.prefixlen, table=_MAIN_TABLE)
        for one in ranges
    ]
    with rtnetlink(f"making routing rules for {name}") as ipr:
        # What forbids comes first.
        for rule in wanted:
            if rule not in ours:
                ipr.rule("add", **rule)
        for rule in ours:
            if rule not in wanted:
                ipr.rule("del", **rule)


def _rules(name: str) -> list[Rule]:
    """Those this program made for the interface."""
    found = []
    with rtnetlink("listing routing rules") as ipr:
        for one in ipr.rule("dump", family=_AF_INET):
            if one.get_attr("FRA_IIFNAME") != name or one.get_attr("FRA_PROTOCOL") != ROUTE_PROTOCOL:
                continue
            destination = one.get_attr("FRA_DST")
            more: Rule = (
                {"dst": destination, "dst_len": one["dst_len"], "table": _MAIN_TABLE}
                if destination
                else {"action": "FR_ACT_UNREACHABLE"}
            )
            found.append(_rule(name, one.get_attr("FRA_PRIORITY"), **more))
    return found


def _rule(name: str, priority: int, **more: Any) -> Rule:
    return {"family": _AF_INET, "priority": priority, "iifname": name, "protocol": ROUTE_PROTOCOL, **more}


def _switch(name: str) -> Path:
    return _SETTINGS / "ipv4/conf" / name / "forwarding"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    if _read(path) == text:
        return
    try:
        path.write_text(text)
    except OSError as error:
        raise KernelError(f"forwarding cannot be set from here: {path}: {error.strerror}") from error
