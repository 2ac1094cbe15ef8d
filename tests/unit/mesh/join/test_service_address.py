"""Where a bootstrap node serves: as set, or where its machine's address is by now."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from tests.unit.machine import PlayedMachine

from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint
from wgmesh_agent.mesh.discovery.local_addresses import LocalAddresses
from wgmesh_agent.mesh.join.service_address import ServiceAddress
from wgmesh_agent.runtime.change_signal import Signal
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

SET, MOVED = HostPort("192.0.2.1", 5000), Endpoint(ip_address("192.0.2.77"), 54540)


class Where:
    """Finds this node at `MOVED`, or nowhere."""

    is_lost = False

    async def __call__(self, towards: Sequence[IPAddress]) -> Endpoint:
        if self.is_lost:
            raise NoUsableEndpoint("eth0 has no address")
        return MOVED


def service(machine: PlayedMachine, where: Where, *, follows: bool) -> ServiceAddress:
    return ServiceAddress(SET, LocalAddresses(machine, Signal()), where, follows_address=follows)


@pytest.mark.parametrize(
    ("held", "follows", "port"),
    [
        ("192.0.2.1", True, SET),
        ("192.0.2.77", True, HostPort("192.0.2.77", 5000)),
        ("192.0.2.77", False, SET),
    ],
    ids=["still there", "moved", "told to stay"],
)
async def test_it_follows_the_machine_s_address_if_it_is_to(held: str, follows: bool, port: HostPort) -> None:
    machine = PlayedMachine()
    machine.held = [("eth0", ip_address(held))]
    assert await service(machine, Where(), follows=follows).current() == port


async def test_a_machine_without_an_address_serves_where_it_was_set() -> None:
    machine, where = PlayedMachine(), Where()
    machine.held, where.is_lost = [], True
    assert await service(machine, where, follows=True).current() == SET
