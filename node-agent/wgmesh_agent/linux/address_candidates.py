"""Selects this machine's addresses that peers may be able to reach.

A host has addresses that lead only to itself: of Docker's bridges and CNIs, of other meshes and VPNs, of services
(`kube-ipvs0`), and virtual ones that move to another host (keepalived, kube-vip). They are not candidates;
`-listen-addr` can select one nevertheless.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wgmesh_agent.wireguard.model import IPAddress

NEVER = frozenset({"dummy", "ifb", "ipvs", "nlmon", "tun", "vrf", "wireguard"})
"""Kinds (IFLA_INFO_KIND) whose packets stay on this host, or go inside another tunnel."""
UNLESS_DEFAULT = frozenset(
    {
        "bridge",
        "erspan",
        "geneve",
        "gre",
        "gretap",
        "ip6gre",
        "ip6gretap",
        "ip6tnl",
        "ipip",
        "sit",
        "vti",
        "vti6",
        "vxlan",
        "xfrm",
    }
)
"""Kinds that may be the uplink, on a host that has its default route there."""
SWITCH_PORTS = frozenset({"", "bond", "team", "vlan"})
"""A bridge with a port of one of these kinds connects other machines too; one with only veths and taps is the host's
own.
"""


@dataclass(frozen=True, slots=True)
class Card:
    """An interface.

    Attributes:
        kind: empty for hardware.
        master: the index of the bridge or bond it is a port of; 0: none.
        ours: whether it is a mesh's.
    """

    name: str
    index: int
    kind: str = ""
    up: bool = True
    loopback: bool = False
    master: int = 0
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """An address of the interface with this index.

    Attributes:
        prefix: bits of its network.
        lasting: configured statically, not leased or learned.
        deprecated: not to be used for new connections.
    """

    index: int
    address: IPAddress
    prefix: int
    lasting: bool = True
    deprecated: bool = False


def candidates(
    cards: Sequence[Card], held: Sequence[Held], defaults: Collection[IPAddress]
) -> list[tuple[str, IPAddress]]:
    """Interface and address, best first: the source address of the default route, other addresses of that interface,
    then all others in the kernel's order.

    Args:
        defaults: source addresses of the default routes, one per family.
    """
    by_index = {card.index: card for card in cards}
    world = {one.index for one in held if one.address in defaults}
    found = []
    for one in held:
        card = by_index.get(one.index)
        if (
            card is not None
            and _is_way(card, cards, is_default=card.index in world)
            and not is_virtual(one, held)
        ):
            found.append((card, one))
    found.sort(
        key=lambda item: (item[1].deprecated, item[1].address not in defaults, item[0].index not in world)
    )
    return [(card.name, one.address) for card, one in found]


def is_way_towards(
    source: IPAddress,
    target: IPAddress,
    cards: Sequence[Card],
    held: Sequence[Held],
    defaults: Collection[IPAddress],
) -> bool:
    """Whether the source address towards a bootstrap node is to be advertised: a bridge or VPN that leads to that node,
    and is not the uplink, was selected by naming the node.
    """
    mine = next((one for one in held if one.address == source), None)
    card = next((card for card in cards if mine is not None and card.index == mine.index), None)
    if mine is None or card is None or source == target or is_virtual(mine, held):
        return False
    is_default = source in defaults
    if card.kind in {*UNLESS_DEFAULT, "tun"} and not is_default and not card.ours:
        return card.up
    return _is_way(card, cards, is_default=is_default)


def is_virtual(one: Held, held: Sequence[Held]) -> bool:
    """Whether an address next to others of its interface has no network of its own: it may move to another host. A
    leased one (DHCPv6 assigns single addresses) does not.
    """
    if one.prefix != one.address.max_prefixlen or not one.lasting:
        return False
    return any(
        other.index == one.index
        and other.address.version == one.address.version
        and other.prefix < one.prefix
        and not other.address.is_link_local
        for other in held
    )


def _is_way(card: Card, cards: Sequence[Card], *, is_default: bool) -> bool:
    if not card.up or card.loopback or card.ours or card.kind in NEVER:
        return False
    if card.kind == "bridge" and any(
        port.master == card.index and port.kind in SWITCH_PORTS for port in cards
    ):
        return True
    return is_default or card.kind not in UNLESS_DEFAULT
