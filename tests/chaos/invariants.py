"""Invariants of a mesh under any fault, checked from outside: by the tunnels of its machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.tunnel import alone

from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Device, IPAddress


class Broken(AssertionError):
    """A promise was not kept; says which, and how to see it again."""


@dataclass(slots=True)
class Record:
    """Who has which key and addresses, by what agents said when they entered.

    Attributes:
        owners: every key that ever was a member's, and whose.
        addresses: all addresses a key had.
        keys, current: what holds now, by name.
    """

    owners: dict[PublicKey, str] = field(default_factory=dict)
    addresses: dict[PublicKey, set[IPAddress]] = field(default_factory=dict)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    current: dict[str, tuple[IPAddress, ...]] = field(default_factory=dict)

    def made(self, name: str, key: PublicKey) -> None:
        """This member, to be or already, has this key from now on, and no other."""
        self.owners[key] = name
        self.keys[name] = key

    def entered(self, name: str, key: PublicKey, addresses: tuple[IPAddress, ...]) -> None:
        """This member lives under this key at these addresses from now on."""
        self.made(name, key)
        self.addresses.setdefault(key, set()).update(addresses)
        self.current[name] = addresses


def shared_addresses(current: Mapping[str, tuple[IPAddress, ...]], living: Iterable[str]) -> Iterator[str]:
    """Two live members with one address."""
    holders: dict[IPAddress, str] = {}
    for name in living:
        for address in current.get(name, ()):
            if address in holders:
                yield f"{holders[address]} and {name} both live at {address}"
            holders[address] = name


def wrong_peers(name: str, device: Device, record: Record) -> Iterator[str]:
    """Peers that are no member, that hold what is not theirs, or that overlap."""
    spans = []
    for key, peer in device.peers.items():
        owner = record.owners.get(key)
        if owner is None:
            yield f"{name} has the peer {key}, which is no member"
            continue
        if owner == name:
            yield f"{name} has a peer with a key of its own"
        allowed = {alone(address) for address in record.addresses.get(key, ())}
        # The admitting node has the peer before that one knows its address.
        if allowed and not peer.allowed_ips <= allowed:
            yield f"{name} lets {owner} have {sorted(map(str, peer.allowed_ips - allowed))}"
        spans += [
            (one.version, int(one.network_address), int(one.broadcast_address), owner)
            for one in peer.allowed_ips
        ]
    spans.sort()
    for (version, _, last, owner), (other_version, first, _, other) in pairwise(spans):
        if version == other_version and first <= last:
            yield f"{name} has ranges of {owner} and {other} that overlap"


def ghosts(name: str, device: Device, record: Record) -> Iterator[str]:
    """Peers under keys or addresses that their owners do not have any more."""
    for key, peer in device.peers.items():
        owner = record.owners.get(key, "nobody")
        if record.keys.get(owner) != key:
            yield f"{name} still has a former key of {owner} as a peer"
        elif peer.allowed_ips != {alone(address) for address in record.current.get(owner, ())}:
            yield f"{name} has {owner} at {sorted(map(str, peer.allowed_ips))}"
