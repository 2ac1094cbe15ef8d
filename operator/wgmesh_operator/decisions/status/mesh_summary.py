"""Summary of a mesh: its members' reports, counted. One pass over the members, no pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime

from wgmesh_api.text import shortened
from wgmesh_operator.decisions.cluster_node import ClusterNode
from wgmesh_operator.decisions.model import Member

MAX_NAMED = 5
"""How many members or links are named; the rest is counted."""


@dataclass(slots=True)
class Examples:
    """A few names, and the total number."""

    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < MAX_NAMED:
            self.names.append(name)

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return shortened(self.names, len(self.names), total=self.count)


@dataclass(slots=True)
class MeshSummary:
    """Counts of one mesh. `links` are ordered pairs; `links_up` those of which the first receives from the second,
    `relayed` those of these via a relay.
    """

    nodes: int = 0
    ready: int = field(default=0, init=False)
    links: int = 0
    links_up: int = field(default=0, init=False)
    relayed: int = field(default=0, init=False)
    not_joined: Examples = field(default_factory=Examples, init=False)
    """Live members that have not joined."""
    down: Examples = field(default_factory=Examples, init=False)
    """Members that had joined and are down: their node is not ready, or no bootstrap node receives from the machine."""
    certificates_missing: Examples = field(default_factory=Examples, init=False)
    certificates_expired: Examples = field(default_factory=Examples, init=False)
    links_down: Examples = field(default_factory=Examples, init=False)
    """Links that are down, as `a -> b: problem`."""
    reduced_mtu: Examples = field(default_factory=Examples, init=False)
    """Reduced path MTUs, as `a -> b: 1216 of 1440 bytes`."""
    ready_bootstraps: int = field(default=0, init=False)

    @property
    def fully_meshed(self) -> bool:
        return self.nodes > 0 and self.ready == self.nodes and self.links_up == self.links


def summarize(
    wanted: AbstractSet[str],
    members: Mapping[str, Member],
    nodes: Mapping[str, ClusterNode],
    bootstraps: AbstractSet[str],
    now: datetime,
) -> MeshSummary:
    """Counts over the `wanted` nodes of the cluster and the external machines that have joined once."""
    names = [*wanted, *_joined_externals(members.values())]
    total = MeshSummary(nodes=len(names), links=len(names) * (len(names) - 1))
    for name in sorted(names):
        member = members.get(name)
        if member is None or member.roster.deleting:
            total.not_joined.add(name)
            total.certificates_missing.add(name)
            continue
        _count(total, member, nodes.get(name), now)
        if name in bootstraps and is_ready(member, nodes.get(name)) and not member.roster.report.not_serving:
            total.ready_bootstraps += 1
    return total


def is_ready(member: Member, node: ClusterNode | None) -> bool:
    """Whether it has joined, and its node is up to report it: the report of a failed node is outdated."""
    report = member.roster.report
    return (
        report.ready
        and report.phase == "Joined"
        and (member.roster.external or (node is not None and node.ready))
    )


def _joined_externals(members: Iterable[Member]) -> list[str]:
    return [
        member.roster.node
        for member in members
        if member.roster.external and not member.roster.deleting and member.roster.report.phase == "Joined"
    ]


def _count(total: MeshSummary, member: Member, node: ClusterNode | None, now: datetime) -> None:
    name, report = member.roster.node, member.roster.report
    external = member.roster.external
    if is_ready(member, node):
        total.ready += 1
        total.links_up += min(report.heard, total.nodes - 1)
        total.relayed += min(report.relayed, report.heard, total.nodes - 1)
        for peer, problem in report.worst:
            total.links_down.add(f"{name} -> {peer}: {problem}")
        for peer, mtu in report.narrow:
            total.reduced_mtu.add(f"{name} -> {peer}: {mtu} of {report.mtu} bytes")
        total.reduced_mtu.count += max(0, report.narrow_count - len(report.narrow))
    elif external or (node is not None and not node.ready):
        total.down.add(name)
    else:
        total.not_joined.add(name)
    if external:
        return
    if report.certificate_not_after is None:
        total.certificates_missing.add(name)
    elif report.certificate_not_after <= now:
        total.certificates_expired.add(name)
