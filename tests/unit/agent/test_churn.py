"""Members that come with a new key each time and leave again leave nothing behind by key or by name."""

from __future__ import annotations

import gc
import random
import tracemalloc
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.local import LocalClaim

from wgmesh_agent.mesh.discovery.candidate_selector import CandidateSelector
from wgmesh_agent.mesh.membership.claims import Claim, Origin
from wgmesh_agent.mesh.membership.endpoint_flaps import EndpointFlapDetector
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint


def key(number: int) -> PublicKey:
    return PublicKey(number.to_bytes(32, "big"))


class Tables:
    """What a node keeps of its members."""

    def __init__(self) -> None:
        network = ip_network("10.232.0.0/16")
        self.ledger = Ledger(LocalClaim("own", key(1), (ip_address("10.232.1.1"),), (network,)))
        self.seeking = CandidateSelector(random.Random(1))
        self.wandering = EndpointFlapDetector()
        self.refusals = RejectionLog()

    def cycle(self, number: int) -> None:
        """Two members come, one of them as another already bound, and leave."""
        for index in (1, 2):
            node = f"n{index}"
            endpoint = Endpoint(ip_address("192.0.2.1"), 1024 + number)
            address = ip_address("10.232.0.0") + index
            claim = Claim(node, key(100 * number + index), (address,), (endpoint,))
            assert self.ledger.accept(claim, Origin.ANNOUNCED, float(number)) is None
            self.wandering.record(node, str(endpoint), float(number))
            rival = Claim(node, key(100 * number + 50 + index), (address,), ())
            refusal = self.ledger.accept(rival, Origin.GOSSIP, float(number))
            assert refusal is not None
            self.refusals.record(refusal.reason.value, refusal.message)
            self.seeking.update((binding.claim for binding in self.ledger), float(number))
            self.ledger.remove(claim.public_key)
            self.seeking.update((binding.claim for binding in self.ledger), float(number))


def kept() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.heavy
def test_two_thousand_joins_and_leaves_end_where_a_hundred_did() -> None:
    tables = Tables()
    tracemalloc.start()
    try:
        for number in range(1, 101):
            tables.cycle(number)
        before = kept()
        for number in range(101, 2001):
            tables.cycle(number)
        assert kept() - before < 32 << 10
    finally:
        tracemalloc.stop()
