"""The mesh and this node as `wgmesh info` reports them."""

from __future__ import annotations

from wgmesh_agent.diagnosis.link_sources import LinkSources
from wgmesh_agent.diagnosis.rejected_input import rejected_input
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.wireguard.backend import BackendKind
from wgmesh_api.agent_pb2 import MeshInfo
from wgmesh_api.version import VERSION


class MeshReport:
    """Evaluated for each request."""

    def __init__(self, sources: LinkSources, backend: BackendKind, *, tls: bool) -> None:
        """
        Args:
            tls: whether joining is authenticated.
        """
        self._sources = sources
        self._backend = backend
        self._tls = tls

    def info(self) -> MeshInfo:
        node, local, record = self._sources, self._sources.local, self._sources.local.record
        return MeshInfo(
            name=record.mesh,
            nodeCount=sum(m.status is MemberStatus.ALIVE for m in node.members.present()),
            nodeName=record.node,
            meshCeationTS=record.created_unix,
            nodeJoinTS=record.joined_unix,
            interface=local.config.interface,
            backend=self._backend.value,
            pubkey=str(local.public_key),
            meshCidrs=[str(network) for network in record.ranges],
            meshIPs=[str(address) for address in record.addresses],
            gossipProfile=record.profile,
            gossipEncrypted=bool(record.gossip_keys),
            tls=self._tls,
            mtu=local.config.mtu,
            version=VERSION,
            endpoint=str(local.endpoint),
            refusals=node.rejections.counts,
            rejectedInput={
                f"{border}: {reason}": count
                for (border, reason), count in rejected_input(node.gossip.counters).items()
            },
            bootstrap=record.bootstrap,
            behindNat=local.behind_nat,
            secretIds=local.secret_ids,
        )
