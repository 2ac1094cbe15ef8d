"""Ranges and addresses of a bootstrap node: nested correctly, one per IP version."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Network

from wgmesh_agent.settings import bootstrap_table
from wgmesh_agent.settings.errors import SettingsError
from wgmesh_agent.settings.model import IPAddress, IPNetwork
from wgmesh_agent.settings.resolve import Resolved
from wgmesh_api.addresses import is_usable_host

# 10.232.1.1 in 10.232.0.0/16, the original's choice, and the same offset in other ranges that are large enough
_USUAL_OFFSET = 257
_SMALL_OFFSET = 1


def default_mesh_address(network: IPNetwork) -> IPAddress:
    """10.232.1.1 in 10.232.0.0/16: address 257 of `network`, or 1 where it has no more than 257."""
    return network[_USUAL_OFFSET] if network.num_addresses > _USUAL_OFFSET else network[_SMALL_OFFSET]


def mesh_addresses(resolved: Resolved, cidrs: Sequence[IPNetwork]) -> tuple[IPAddress, ...]:
    """This node's address in each of `cidrs`: the given one, or the default. Raises SettingsError."""
    label = resolved.origin(bootstrap_table.MESH_IPS).label
    given: dict[int, IPAddress] = {}
    for address in resolved.value(bootstrap_table.MESH_IPS):
        if address.version in given:
            raise SettingsError(
                f"{label}: {given[address.version]} and {address} are of one IP version, one is allowed"
            )
        if not any(is_usable_host(address, network) for network in cidrs):
            raise SettingsError(f"{label}: {address} is not a node address in {_listed(cidrs)}")
        given[address.version] = address
    return tuple(given.get(network.version) or default_mesh_address(network) for network in cidrs)


def check_ipam(resolved: Resolved, cidrs: Sequence[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The parts of `cidrs` for joining nodes. Raises SettingsError if one lies outside."""
    parts = resolved.value(bootstrap_table.CIDR_IPAM)
    for part in parts:
        if not any(_contains(network, part) for network in cidrs):
            label = resolved.origin(bootstrap_table.CIDR_IPAM).label
            raise SettingsError(f"{label}: {part} does not lie in the mesh's range {_listed(cidrs)}")
    return parts


def _contains(outer: IPNetwork, inner: IPNetwork) -> bool:
    if isinstance(outer, IPv6Network):
        return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
    return not isinstance(inner, IPv6Network) and inner.subnet_of(outer)


def _listed(cidrs: Sequence[IPNetwork]) -> str:
    return " or ".join(str(network) for network in cidrs)
