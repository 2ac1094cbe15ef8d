"""Members as the agent's socket reports them: joined from gossip, the ledger, WireGuard and probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.mesh.dataplane.indirect_paths import IndirectPaths
from wgmesh_agent.mesh.membership.tags import is_reserved
from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU
from wgmesh_agent.mesh.routing.subnet_routes import SubnetRoutes
from wgmesh_agent.runtime.borders import border
from wgmesh_agent.wireguard.model import Device, Network
from wgmesh_api.agent_pb2 import MemberInfo, MemberInfoTag

REPORTED = border("reported member", "data of members as the agent's socket reports it")


class MemberReport:
    """Evaluated for each request."""

    def __init__(self, sources: LinkSources, routes: SubnetRoutes, indirect: IndirectPaths) -> None:
        self._sources = sources
        self._routes = routes
        self._indirect = indirect

    async def members(self) -> Iterator[MemberInfo]:
        """All but those that have left. Raises BackEndError: WireGuard cannot be read."""
        device = await self._sources.device.read()
        return self._members(device)

    def _members(self, device: Device) -> Iterator[MemberInfo]:
        links, paths = self._sources.probing.links(), self._sources.probing.path_mtus()
        for member in self._sources.members.present():
            # A member that cannot be reported is omitted, and only that one.
            found: MemberInfo | None = None
            with REPORTED.fence(member.name):
                found = self._member_info(member, device, links, paths)
            if found is not None:
                yield found

    def _routes_via(self, node: str) -> Iterable[Network]:
        """The networks reached via a member."""
        if node == self._sources.local.node:
            return self._sources.local.routes
        binding = self._sources.ledger.by_name(node)
        return self._routes.installed.get(binding.claim.public_key, ()) if binding is not None else ()

    def _member_info(
        self, member: Member, device: Device, links: dict[str, LinkState], paths: dict[str, PathMTU]
    ) -> MemberInfo:
        own = member.name == self._sources.local.node
        binding = self._sources.ledger.by_name(member.name)
        claim = self._sources.local.claim() if own else (binding.claim if binding else None)
        peer = device.peers.get(claim.public_key) if claim and not own else None
        rtt = self._sources.gossip.rtt(member.name)
        link = links.get(member.name)
        return MemberInfo(
            nodeName=member.name,
            addr=str(member.address),
            status=member.status.name.lower(),
            rttMsec=0 if rtt is None else round(rtt * 1000),
            tags=[
                MemberInfoTag(key=k, value=v) for k, v in sorted(member.tags.items()) if not is_reserved(k)
            ],
            isLocalNode=own,
            endpoint=str(self._sources.local.endpoint if own else (peer and peer.endpoint) or ""),
            lastHandshakeTS=int(peer.last_handshake) if peer else 0,
            rxBytes=peer.rx_bytes if peer else 0,
            txBytes=peer.tx_bytes if peer else 0,
            meshIPs=[str(address) for address in claim.addresses] if claim else [],
            pubkey=str(claim.public_key) if claim else "",
            rttUsec=0 if own else (-1 if rtt is None else round(rtt * 1e6)),
            bootstrap=claim.bootstrap if claim else False,
            probed=link is not None,
            receiving=link is not None and link.receiving,
            peerReceiving=link is not None and bool(link.peer_receiving),
            routes=[str(route) for route in self._routes_via(member.name)],
            pathMTU=(path.mtu or 0) if (path := paths.get(member.name)) is not None else 0,
            lastProbeMsecAgo=msec_ago(link.last_received_seconds_ago) if link is not None else 0,
            relay=self._indirect.relays_in_use().get(claim.public_key, "") if claim else "",
            presharedKey=peer is not None and self._sources.psk.is_protected(device, peer.public_key),
        )


def msec_ago(seconds: float | None) -> int:
    """-1 for never, and at least 1, because 0 means unknown."""
    return -1 if seconds is None else max(1, round(seconds * 1000))
