"""A joiner that is admitted and never comes: nothing of it is left anywhere after its minute."""

import json
import sys
import time
from pathlib import Path

import pytest
from tests.netns.mesh_harness import eventually, lab_network, stays, wireguard

from wgmesh_agent.lab.mesh import Mesh
from wgmesh_agent.mesh.join.registrar import JOIN_DEADLINE_SECONDS
from wgmesh_agent.mesh.join.upkeep import INTERVAL_SECONDS

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180), pytest.mark.slow]


def test_a_joiner_that_dies_half_way_leaves_no_peer_and_no_address_behind() -> None:
    with lab_network() as network:
        mesh = Mesh(network, tls=False)
        for node in ("n1", "n2", "n3"):
            network.add_host(node)
        mesh.bootstrap("n1")
        mesh.join("n2")
        mesh.wait_until_full()
        script = str(Path(__file__).with_name("joiners.py"))
        command = [sys.executable, script, mesh.name, network.address("n3"), "1", mesh.service_address("n1")]
        began = time.monotonic()
        ((key, address),) = json.loads(network.hosts["n3"].run(command).stdout).items()

        def holders() -> list[str]:
            return [node for node in ("n1", "n2") if key in wireguard(network.hosts[node]).tunnels]

        eventually(lambda: holders() == ["n1", "n2"], 10, "both have the peer")
        left = began + JOIN_DEADLINE_SECONDS - time.monotonic() - 5
        stays(lambda: holders() == ["n1", "n2"], left, "it has its minute")
        eventually(lambda: holders() == [], INTERVAL_SECONDS + 20, "both have let it go")
        assert "join reservation expired" in mesh.agents["n1"].said()
        assert set(mesh.members("n1")) == {"n1", "n2"}
        # Its name and its address are free again, and go to the next node that requests the name.
        again = json.loads(network.hosts["n3"].run(command).stdout)
        assert list(again.values()) == [address]
