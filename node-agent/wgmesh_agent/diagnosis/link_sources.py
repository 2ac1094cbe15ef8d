"""Sources of this node's knowledge about links to members."""

from __future__ import annotations

from dataclasses import dataclass

from wgmesh_agent.gossip.aio.node import GossipNode
from wgmesh_agent.mesh.dataplane.device_cache import DeviceCache
from wgmesh_agent.mesh.membership.endpoint_flaps import MemberFlaps
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.mesh.membership.local_node import LocalNode
from wgmesh_agent.mesh.membership.member_view import MemberView
from wgmesh_agent.mesh.membership.rejections import RejectionLog
from wgmesh_agent.mesh.probing.service import ProbeService
from wgmesh_agent.mesh.psk.service import PSKManager
from wgmesh_agent.wireguard.errors import BackEndError
from wgmesh_agent.wireguard.model import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSources:
    """The parts of a running node from which reports on links are created."""

    local: LocalNode
    ledger: Ledger
    members: MemberView
    gossip: GossipNode
    device: DeviceCache
    probing: ProbeService
    psk: PSKManager
    flaps: MemberFlaps
    rejections: RejectionLog

    async def read_device(self) -> tuple[Device, str]:
        """The WireGuard device, or an empty one and the error."""
        try:
            return await self.device.read(), ""
        except BackEndError as error:
            return Device(self.local.config.interface), str(error)
