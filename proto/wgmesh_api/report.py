"""Status of a WgMeshNode, as its agent writes it and other components read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wgmesh_api.fields import read_int, read_list, read_mapping, read_text, read_time, write_time

MESSAGE_LIMIT = 512
"""Maximum in characters, as the CRD allows."""
PREVIOUS_NAMES = {
    "lastHandledRotation": "rotatedFor",
    "reachablePeers": "heard",
    "relayedPeers": "relayed",
    "presharedKeyPeers": "preshared",
    "expectedPeers": "expected",
    "failedPeers": "failed",
    "unreachablePeers": "worst",
    "rejectedRoutes": "refusedRoutes",
    "reducedMTUPaths": "narrowPaths",
    "lowestMTUPaths": "narrowest",
    "trustedCAs": "trusted",
}
"""Names of status fields in the previous release, whose agents still run while a new operator upgrades them."""
PREVIOUS_EXTERNAL_NAMES = {"reachable": "heard"}
"""The same, for entries of `externals`."""


@dataclass(frozen=True, slots=True)
class ExternalReport:
    """What a bootstrap node knows of an external member; `uid` is that of the WgMeshNode it joined with."""

    node: str
    uid: str
    public_key: str
    endpoint: str
    heard: bool
    secret_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BootstrapReport:
    """Whether a node's Mesh service accepts joiners, and the reason if not.

    An agent reports `serving` False once it has tried for a few seconds, and keeps reporting it after another node
    was chosen, so that the operator does not choose again a node that cannot serve. A node that was never chosen, or
    whose service has not been tried yet, reports nothing.
    """

    serving: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Status of a WgMeshNode. `phase` is Pending, Joined or Left; absent values are empty, zero or None.

    `trusted` and `certificate_issuer` are SHA-256 fingerprints of CAs in hexadecimal, `certificate_serial` is
    hexadecimal; `worst` has at most 5 (peer, problem) pairs, `narrow` at most 5 (peer, path MTU) pairs;
    `gossip_keys` are ids, the primary one first; `secret_ids` those of secrets for pre-shared keys.
    """

    phase: str = ""
    public_key: str = ""
    next_public_key: str = ""
    public_key_since: datetime | None = None
    rotated_for: str = ""
    endpoint: str = ""
    backend: str = ""
    interface: str = ""
    mtu: int | None = None
    heard: int = 0
    relayed: int = 0
    preshared: int = 0
    expected: int = 0
    failed: int = 0
    worst: tuple[tuple[str, str], ...] = ()
    refused_routes: tuple[str, ...] = ()
    narrow_count: int = 0
    narrow: tuple[tuple[str, int], ...] = ()
    certificate_not_after: datetime | None = None
    certificate_serial: str = ""
    certificate_issuer: str = ""
    trusted: tuple[str, ...] = ()
    agent_version: str = ""
    last_change: datetime | None = None
    externals: tuple[ExternalReport, ...] = ()
    gossip_keys: tuple[str, ...] = ()
    secret_ids: tuple[str, ...] = ()
    bootstrap: BootstrapReport | None = None
    metrics_problem: str = ""
    ready: bool = False
    ready_reason: str = ""
    ready_message: str = ""
    ready_since: datetime | None = None

    @property
    def not_serving(self) -> str:
        """Returns why its join service does not run; empty if it runs, or if nothing is known of it."""
        if self.bootstrap is None or self.bootstrap.serving:
            return ""
        return self.bootstrap.message or "its join service does not run"

    def to_status(self) -> dict[str, Any]:
        """Returns the status to apply: every field that has a value."""
        status: dict[str, Any] = {
            "phase": self.phase,
            "publicKey": self.public_key,
            "nextPublicKey": self.next_public_key,
            "lastHandledRotation": self.rotated_for,
            "endpoint": self.endpoint,
            "backend": self.backend,
            "interface": self.interface,
            "certificateSerial": self.certificate_serial,
            "certificateIssuer": self.certificate_issuer,
            "agentVersion": self.agent_version,
            "metricsProblem": self.metrics_problem[:MESSAGE_LIMIT],
        }
        status = {name: value for name, value in status.items() if value}
        if self.mtu is not None:
            status["mtu"] = self.mtu
        status |= {
            "peers": f"{self.heard}/{self.expected}",
            "reachablePeers": self.heard,
            "relayedPeers": self.relayed,
            "presharedKeyPeers": self.preshared,
            "expectedPeers": self.expected,
            "failedPeers": self.failed,
            "unreachablePeers": [{"node": node, "problem": problem} for node, problem in self.worst],
            "rejectedRoutes": list(self.refused_routes),
            "reducedMTUPaths": self.narrow_count,
            "lowestMTUPaths": [{"node": node, "mtu": mtu} for node, mtu in self.narrow],
            "trustedCAs": list(self.trusted),
            "gossipKeys": list(self.gossip_keys),
            "secretIds": list(self.secret_ids),
            "externals": [
                {
                    "node": peer.node,
                    "uid": peer.uid,
                    "publicKey": peer.public_key,
                    "endpoint": peer.endpoint,
                    "reachable": peer.heard,
                    "secretIds": list(peer.secret_ids),
                }
                for peer in self.externals
            ],
        }
        if self.bootstrap is not None:
            status["bootstrap"] = {
                "serving": self.bootstrap.serving,
                "message": self.bootstrap.message[:MESSAGE_LIMIT],
            }
        if self.public_key_since is not None:
            status["publicKeySince"] = write_time(self.public_key_since)
        if self.certificate_not_after is not None:
            status["certificateNotAfter"] = write_time(self.certificate_not_after)
        if self.last_change is not None:
            status["lastChange"] = write_time(self.last_change)
        if self.ready_since is not None:
            status["conditions"] = [
                {
                    "type": "Ready",
                    "status": "True" if self.ready else "False",
                    "reason": self.ready_reason or ("Joined" if self.ready else "Joining"),
                    "message": self.ready_message
                    or ("it is a member" if self.ready else "it is not a member yet"),
                    "lastTransitionTime": write_time(self.ready_since),
                }
            ]
        return status


def read_report(status: Mapping[str, Any]) -> NodeReport:
    """The report in a status, whether this release or the previous one wrote it."""
    status = _with_current_names(status, PREVIOUS_NAMES)
    ready = _ready_condition(status)
    return NodeReport(
        phase=read_text(status, "phase"),
        public_key=read_text(status, "publicKey"),
        next_public_key=read_text(status, "nextPublicKey"),
        public_key_since=read_time(status.get("publicKeySince")),
        rotated_for=read_text(status, "lastHandledRotation"),
        endpoint=read_text(status, "endpoint"),
        backend=read_text(status, "backend"),
        interface=read_text(status, "interface"),
        mtu=read_int(status, "mtu"),
        heard=read_int(status, "reachablePeers") or 0,
        relayed=read_int(status, "relayedPeers") or 0,
        preshared=read_int(status, "presharedKeyPeers") or 0,
        expected=read_int(status, "expectedPeers") or 0,
        failed=read_int(status, "failedPeers") or 0,
        worst=tuple(
            (read_text(item, "node"), read_text(item, "problem"))
            for item in read_list(status, "unreachablePeers")
            if isinstance(item, Mapping)
        ),
        refused_routes=tuple(item for item in read_list(status, "rejectedRoutes") if isinstance(item, str)),
        narrow_count=read_int(status, "reducedMTUPaths") or 0,
        narrow=tuple(
            (read_text(item, "node"), read_int(item, "mtu") or 0)
            for item in read_list(status, "lowestMTUPaths")
            if isinstance(item, Mapping)
        ),
        certificate_not_after=read_time(status.get("certificateNotAfter")),
        certificate_serial=read_text(status, "certificateSerial"),
        certificate_issuer=read_text(status, "certificateIssuer"),
        trusted=tuple(item for item in read_list(status, "trustedCAs") if isinstance(item, str)),
        gossip_keys=tuple(item for item in read_list(status, "gossipKeys") if isinstance(item, str)),
        secret_ids=tuple(item for item in read_list(status, "secretIds") if isinstance(item, str)),
        agent_version=read_text(status, "agentVersion"),
        last_change=read_time(status.get("lastChange")),
        externals=tuple(
            ExternalReport(
                read_text(item, "node"),
                read_text(item, "uid"),
                read_text(item, "publicKey"),
                read_text(item, "endpoint"),
                _with_current_names(item, PREVIOUS_EXTERNAL_NAMES).get("reachable") is True,
                tuple(id_ for id_ in read_list(item, "secretIds") if isinstance(id_, str)),
            )
            for item in read_list(status, "externals")
            if isinstance(item, Mapping) and read_text(item, "node")
        ),
        bootstrap=_bootstrap(status),
        metrics_problem=read_text(status, "metricsProblem"),
        ready=ready.get("status") == "True",
        ready_reason=read_text(ready, "reason"),
        ready_message=read_text(ready, "message"),
        ready_since=read_time(ready.get("lastTransitionTime")),
    )


def _with_current_names(written: Mapping[str, Any], previous: Mapping[str, str]) -> Mapping[str, Any]:
    """`written` with each field that is absent taken from the name that it had in the previous release."""
    former = {new: written.get(old) for new, old in previous.items() if written.get(new) is None}
    return {**written, **{new: value for new, value in former.items() if value is not None}}


def _bootstrap(status: Mapping[str, Any]) -> BootstrapReport | None:
    said = read_mapping(status, "bootstrap")
    serving = said.get("serving")
    return BootstrapReport(serving, read_text(said, "message")) if isinstance(serving, bool) else None


def _ready_condition(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for condition in read_list(status, "conditions"):
        if isinstance(condition, Mapping) and condition.get("type") == "Ready":
            return condition
    return {}
