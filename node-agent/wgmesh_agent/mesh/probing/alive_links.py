"""Links to evaluate: those to members that gossip reports alive and that exchange probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from wgmesh_agent.gossip.serf.events import Member
from wgmesh_agent.gossip.wire.serf_messages import MemberStatus
from wgmesh_agent.mesh.membership.claims import Binding, Claim
from wgmesh_agent.mesh.probing.liveness import LinkState


def alive_links(
    bindings: Iterable[Binding], members: Mapping[str, Member], links: Mapping[str, LinkState]
) -> Iterator[tuple[Claim, LinkState]]:
    """Members and their liveness; `members` and `links` are by name."""
    for binding in bindings:
        claim = binding.claim
        member, link = members.get(claim.node), links.get(claim.node)
        if member is not None and member.status is MemberStatus.ALIVE and link is not None:
            yield claim, link
