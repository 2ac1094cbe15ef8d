"""This node's report in its WgMeshNode's status, computed from what it observes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wgmesh_agent.mesh.probing.liveness import LinkState
from wgmesh_agent.mesh.probing.path_mtu import PathMTU
from wgmesh_api.certificates import is_issued_by
from wgmesh_api.report import ExternalReport, NodeReport

MAX_NAMED = 5
HANDSHAKE_FRESH_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class PeerObservation:
    """One peer as this node sees it; `link` is None if it does not answer probes."""

    node: str
    alive: bool
    failed: bool
    link: LinkState | None
    handshake_seconds_ago: float | None
    public_key: str
    endpoint: str
    path: PathMTU | None = None
    relay: str = ""
    """The relay of its traffic; empty: the path is direct."""
    preshared: bool = False
    secret_ids: tuple[str, ...] = ()

    @property
    def reachable(self) -> bool:
        """Whether its link is up: by probes; for a peer without probes, by gossip and a fresh handshake."""
        if self.link is not None:
            return self.link.receiving
        ago = self.handshake_seconds_ago
        return self.alive and ago is not None and ago <= HANDSHAKE_FRESH_SECONDS

    @property
    def problem(self) -> str:
        if self.link is None:
            return "not joined yet" if not self.failed else "failed, and no handshake"
        ago = self.link.last_received_seconds_ago
        # Rounded in steps, so that a peer that stays down does not change the status at every write.
        return "no probe yet" if ago is None else f"no probe for {_rounded(ago)}"


def build_report(
    base: NodeReport, peers: Iterable[PeerObservation], expected: Set[str], externals: Mapping[str, str]
) -> NodeReport:
    """The report with peers counted.

    Args:
        base: everything that does not depend on peers.
        expected: the names of all other members expected.
        externals: the external ones, with the uid of the WgMeshNode by which each joined; reported by bootstrap nodes.
    """
    by_name = {seen.node: seen for seen in peers}
    silent = sorted(name for name in expected if name not in by_name or not by_name[name].reachable)
    narrow = sorted(
        (seen.path.mtu, name)
        for name in expected
        if (seen := by_name.get(name)) is not None and seen.path is not None and seen.path.is_reduced
        if seen.path.mtu is not None
    )
    worst = tuple(
        (name, by_name[name].problem if name in by_name else "not joined yet") for name in silent[:MAX_NAMED]
    )
    return replace(
        base,
        heard=len(expected) - len(silent),
        relayed=sum(1 for name in expected - set(silent) if by_name[name].relay),
        preshared=sum(1 for name in expected - set(silent) if by_name[name].preshared),
        expected=len(expected),
        failed=sum(1 for name in expected if name in by_name and by_name[name].failed),
        worst=worst,
        narrow_count=len(narrow),
        narrow=tuple((name, mtu) for mtu, name in narrow[:MAX_NAMED]),
        externals=tuple(
            ExternalReport(
                name, externals[name], seen.public_key, seen.endpoint, seen.reachable, seen.secret_ids
            )
            for name in sorted(externals)
            if (seen := by_name.get(name)) is not None
        ),
    )


def with_certificate(base: NodeReport, leaf: x509.Certificate, authorities: bytes) -> NodeReport:
    """The report with the certificate's properties."""
    try:
        trusted = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        # A CA certificate that cannot be parsed is trusted by no node, and the report states so.
        trusted = []
    issuer = next((ca for ca in trusted if ca.subject == leaf.issuer and is_issued_by(leaf, ca)), None)
    return replace(
        base,
        certificate_not_after=leaf.not_valid_after_utc,
        certificate_serial=f"{leaf.serial_number:x}",
        certificate_issuer=_fingerprint(issuer) if issuer is not None else "",
        trusted=tuple(_fingerprint(ca) for ca in trusted),
    )


def has_changed(now: NodeReport, written: NodeReport | None) -> bool:
    """Whether the report differs from the last one written, apart from its times."""
    return written is None or _without_times(now) != _without_times(written)


def with_time(now: NodeReport, written: NodeReport | None, moment: datetime) -> NodeReport:
    """The report ready to be written: its times are those of changes, not of writing."""
    if written is not None and not has_changed(now, written):
        return written
    same_ready = written is not None and written.ready == now.ready and written.ready_since is not None
    return replace(
        now, last_change=moment, ready_since=written.ready_since if same_ready and written else moment
    )


def expected_peers(names: Mapping[str, bool], own: str) -> tuple[frozenset[str], frozenset[str]]:
    """From all members (name to whether it is external): the expected peers, and the external ones of them."""
    others = frozenset(name for name in names if name != own)
    return others, frozenset(name for name in others if names[name])


def _without_times(report: NodeReport) -> NodeReport:
    return replace(report, last_change=None, ready_since=None)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _rounded(seconds: float) -> str:
    for limit, unit, step in ((60, "s", 10), (3600, "m", 60), (86400, "h", 3600)):
        if seconds < limit:
            amount = max(1, int(seconds // step)) * (step if unit == "s" else 1)
            return f"{amount}{unit}"
    return f"{int(seconds // 86400)}d"
