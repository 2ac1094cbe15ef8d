"""Agents read what the models write; the models accept what agents write; malformed data affects nothing else."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_api import fields, report, roster
from wgmesh_api.resources.base import Condition
from wgmesh_api.resources.mesh import WgMesh, WgMeshSpec
from wgmesh_api.resources.mesh_status import BootstrapStatus, WgMeshStatus
from wgmesh_api.resources.node import (
    BootstrapService,
    ExternalPeer,
    NarrowPath,
    PeerProblem,
    WgMeshNode,
    WgMeshNodeSpec,
    WgMeshNodeStatus,
)

METADATA = {"name": "blue", "uid": "u-1", "creationTimestamp": "2030-01-01T00:00:00Z"}
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


def dumped(model: Any, **metadata: Any) -> dict[str, Any]:
    body: dict[str, Any] = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    return body | {"metadata": METADATA | metadata}


def test_a_mesh_of_the_models_is_read_whole() -> None:
    spec = WgMeshSpec.model_validate(
        {
            "cidrs": ["10.232.0.0/16", "fd00::/64"],
            "bootstrap": {"port": 6000},
            "wireguard": {"port": 51820, "mtu": 1400, "keepalive": 25, "backend": "kernel"},
            "gossip": {"profile": "wan", "port": 7000},
            "certificates": {"lifetime": "1h30m"},
            "rotation": {"wireguardKeys": "720h"},
        }
    )
    status = WgMeshStatus(
        bootstraps=[
            BootstrapStatus(node="a", address="192.0.2.1:6000", outer_address="203.0.113.7:6000"),
            BootstrapStatus(node="b", address="[2001:db8::1]:6000"),
        ],
        trust_bundle="PEM",
        creation_time="1970-01-01T00:00:05Z",
    )
    assert roster.read_mesh(dumped(WgMesh(spec=spec, status=status))) == roster.RosterMesh(
        name="blue",
        uid="u-1",
        deleting=False,
        created_at=5,
        cidrs=(ip_network("10.232.0.0/16"), ip_network("fd00::/64")),
        bootstraps=(
            roster.RosterBootstrap("a", ip_address("192.0.2.1"), 6000),
            roster.RosterBootstrap("b", ip_address("2001:db8::1"), 6000),
            roster.RosterBootstrap("a", ip_address("203.0.113.7"), 6000),
        ),
        trust_bundle="PEM",
        bootstrap_port=6000,
        wireguard_port=51820,
        mtu=1400,
        keepalive_seconds=25,
        backend="kernel",
        gossip_profile="wan",
        gossip_port=7000,
        certificate_lifetime_seconds=5400.0,
        wireguard_key_seconds=2592000.0,
    )


def test_defaults_are_those_of_the_models() -> None:
    written = roster.read_mesh(dumped(WgMesh(spec=WgMeshSpec(cidrs=["10.232.0.0/16"]))))
    bare = roster.read_mesh({"metadata": METADATA, "spec": {"cidrs": ["10.232.0.0/16"]}})
    assert written == bare
    assert bare.created_at == int(MOMENT.timestamp())


@pytest.mark.parametrize(
    ("status", "created"),
    [
        ({"creationTime": "1970-01-01T00:00:07Z", "createdAt": 5}, 7),
        ({"createdAt": 5}, 5),
        ({"createdAt": -5}, int(MOMENT.timestamp())),
        ({"createdAt": 2**62}, int(MOMENT.timestamp())),
        ({"createdAt": True}, int(MOMENT.timestamp())),
        ({"creationTime": "soon", "createdAt": "5"}, int(MOMENT.timestamp())),
        ({}, int(MOMENT.timestamp())),
    ],
)
def test_a_mesh_was_created_when_its_status_says_whichever_release_wrote_it(
    status: dict[str, Any], created: int
) -> None:
    body = {"metadata": METADATA, "spec": {"cidrs": ["10.232.0.0/16"]}, "status": status}
    assert roster.read_mesh(body).created_at == created


PREVIOUS: dict[str, Any] = {
    "rotatedFor": "ee",
    "heard": 4,
    "relayed": 1,
    "preshared": 2,
    "expected": 5,
    "failed": 3,
    "worst": [{"node": "b", "problem": "no probe for 12s"}],
    "refusedRoutes": ["the route 10.9.0.0/16 of b overlaps"],
    "narrowPaths": 1,
    "narrowest": [{"node": "b", "mtu": 1216}],
    "trusted": ["aa"],
    "externals": [{"node": "laptop", "heard": True}],
}
READ_OF_PREVIOUS = report.NodeReport(
    rotated_for="ee",
    heard=4,
    relayed=1,
    preshared=2,
    expected=5,
    failed=3,
    worst=(("b", "no probe for 12s"),),
    refused_routes=("the route 10.9.0.0/16 of b overlaps",),
    narrow_count=1,
    narrow=(("b", 1216),),
    trusted=("aa",),
    externals=(report.ExternalReport("laptop", "", "", "", heard=True),),
)


def test_a_status_of_the_previous_release_is_read_whole() -> None:
    assert report.read_report(PREVIOUS) == READ_OF_PREVIOUS


def test_of_a_field_under_both_names_the_new_one_counts() -> None:
    outside = report.ExternalReport("laptop", "", "", "", heard=False)
    other = report.NodeReport(rotated_for="ff", heard=9, externals=(outside,))
    status = PREVIOUS | other.to_status()
    status["externals"] = [{"node": "laptop", "heard": True, "reachable": False}]
    assert report.read_report(status) == other


def test_an_agent_writes_no_name_of_the_previous_release() -> None:
    written = READ_OF_PREVIOUS.to_status()
    assert not set(written) & set(PREVIOUS) - {"externals"}
    assert "heard" not in written["externals"][0]


def test_a_member_of_the_models_is_read_whole() -> None:
    node = WgMeshNode(
        spec=WgMeshNodeSpec(
            mesh="blue",
            node="a",
            addresses=["10.232.0.7", "fd00::7"],
            bootstrap=True,
            endpoint_hint="192.0.2.1",
            routes=["10.244.1.0/24"],
        ),
        status=WgMeshNodeStatus(
            phase="Joined",
            public_key="k",
            endpoint="192.0.2.1:54540",
            backend="kernel",
            interface="wgblue",
            mtu=1420,
            peers="1/2",
            reachable_peers=1,
            expected_peers=2,
            failed_peers=1,
            unreachable_peers=[PeerProblem(node="b", problem="no probe for 12s")],
            rejected_routes=["the route 10.9.0.0/16 of b overlaps"],
            reduced_mtu_paths=1,
            lowest_mtu_paths=[NarrowPath(node="b", mtu=1216)],
            certificate_not_after="2030-01-01T00:00:00Z",
            certificate_serial="ff",
            certificate_issuer="aa",
            trusted_cas=["aa", "bb"],
            gossip_keys=["cc", "dd"],
            preshared_key_peers=1,
            secret_ids=["01020304"],
            public_key_since="2030-01-01T00:00:00Z",
            last_handled_rotation="ee",
            next_public_key="n",
            agent_version="1",
            last_change="2030-01-01T00:00:00Z",
            externals=[
                ExternalPeer(
                    node="laptop", uid="u", public_key="l", endpoint="x:1", reachable=True, secret_ids=["0a"]
                )
            ],
            bootstrap=BootstrapService(serving=False, message="port 5000 is in use"),
            metrics_problem="port 9586 is in use",
            conditions=[
                Condition(
                    type="Ready",
                    status="True",
                    reason="Joined",
                    message="all well",
                    last_transition_time="2030-01-01T00:00:00Z",
                )
            ],
        ),
    )
    read = roster.read_node(
        dumped(
            node,
            name="blue.a",
            deletionTimestamp="2030-01-01T00:00:00Z",
            finalizers=[roster.LEAVE_FINALIZER],
        )
    )
    assert read == roster.RosterNode(
        name="blue.a",
        uid="u-1",
        created=MOMENT,
        deleting_since=MOMENT,
        mesh="blue",
        node="a",
        addresses=(ip_address("10.232.0.7"), ip_address("fd00::7")),
        bootstrap=True,
        external=False,
        endpoint_hint=ip_address("192.0.2.1"),
        report=report.NodeReport(
            phase="Joined",
            public_key="k",
            endpoint="192.0.2.1:54540",
            backend="kernel",
            interface="wgblue",
            mtu=1420,
            heard=1,
            expected=2,
            failed=1,
            worst=(("b", "no probe for 12s"),),
            refused_routes=("the route 10.9.0.0/16 of b overlaps",),
            narrow_count=1,
            narrow=(("b", 1216),),
            certificate_not_after=MOMENT,
            certificate_serial="ff",
            certificate_issuer="aa",
            trusted=("aa", "bb"),
            gossip_keys=("cc", "dd"),
            preshared=1,
            secret_ids=("01020304",),
            public_key_since=MOMENT,
            rotated_for="ee",
            next_public_key="n",
            agent_version="1",
            last_change=MOMENT,
            bootstrap=report.BootstrapReport(False, "port 5000 is in use"),
            metrics_problem="port 9586 is in use",
            externals=(report.ExternalReport("laptop", "u", "l", "x:1", heard=True, secret_ids=("0a",)),),
            ready=True,
            ready_reason="Joined",
            ready_message="all well",
            ready_since=MOMENT,
        ),
        routes=(ip_network("10.244.1.0/24"),),
    )
    assert read.deleting


def test_routes_count_once_the_operator_has_accepted_the_member() -> None:
    spec = {"mesh": "blue", "node": "a", "external": True, "routes": ["0.0.0.0/0"]}
    assert roster.read_node({"metadata": METADATA, "spec": spec}).routes == ()
    accepted = METADATA | {"finalizers": [roster.LEAVE_FINALIZER]}
    assert roster.read_node({"metadata": accepted, "spec": spec}).routes == (ip_network("0.0.0.0/0"),)


TEXT = st.text(max_size=10)
TIMES = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)).map(
    lambda t: t.replace(microsecond=0, tzinfo=UTC)
)
COUNTS = st.integers(0, 10**6)
IDS = st.lists(st.binary(min_size=4, max_size=4).map(bytes.hex), max_size=4).map(tuple)
REPORTS = st.builds(
    report.NodeReport,
    phase=st.sampled_from(["", "Pending", "Joined", "Left"]),
    public_key=TEXT,
    next_public_key=TEXT,
    public_key_since=TIMES,
    rotated_for=TEXT,
    gossip_keys=st.lists(TEXT, max_size=3).map(tuple),
    preshared=COUNTS,
    secret_ids=IDS,
    endpoint=TEXT,
    backend=TEXT,
    interface=TEXT,
    mtu=st.none() | COUNTS,
    heard=COUNTS,
    expected=COUNTS,
    failed=COUNTS,
    worst=st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple),
    refused_routes=st.lists(TEXT, max_size=3).map(tuple),
    narrow_count=COUNTS,
    narrow=st.lists(st.tuples(TEXT, COUNTS), max_size=5).map(tuple),
    certificate_not_after=TIMES,
    certificate_serial=TEXT,
    certificate_issuer=TEXT,
    trusted=st.lists(TEXT, max_size=3).map(tuple),
    agent_version=TEXT,
    last_change=TIMES,
    externals=st.lists(
        st.builds(
            report.ExternalReport, st.text(min_size=1, max_size=9), TEXT, TEXT, TEXT, st.booleans(), IDS
        ),
        max_size=3,
    ).map(tuple),
    bootstrap=st.none() | st.builds(report.BootstrapReport, st.booleans(), TEXT),
    metrics_problem=TEXT,
    ready=st.booleans(),
    ready_reason=st.sampled_from(["Joined", "Leaving"]),
    ready_message=st.text(min_size=1, max_size=10),
    ready_since=TIMES.filter(lambda t: t is not None),
)


@given(REPORTS)
def test_what_an_agent_writes_is_what_is_read_and_what_the_models_accept(written: report.NodeReport) -> None:
    status = written.to_status()
    assert report.read_report(status) == written
    WgMeshNodeStatus.model_validate(status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = [
    "cidrs",
    "bootstrap",
    "wireguard",
    "gossip",
    "mesh",
    "node",
    "addresses",
    "worst",
    "narrowest",
    "unreachablePeers",
    "lowestMTUPaths",
    "creationTime",
    "createdAt",
    "externals",
    "conditions",
]
PART = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON, max_size=6)


@given(
    st.fixed_dictionaries({"metadata": st.just(METADATA) | PART, "spec": PART | JSON, "status": PART | JSON})
)
def test_nonsense_reads_as_absent_or_as_no_object(body: dict[str, Any]) -> None:
    for read in (roster.read_mesh, roster.read_node):
        with contextlib.suppress(fields.UnreadableObject):
            read(body)


def test_an_unreadable_lifetime_is_the_default() -> None:
    spec = {"certificates": {"lifetime": "soon"}}
    assert roster.read_mesh({"metadata": METADATA, "spec": spec}).certificate_lifetime_seconds == 720 * 3600


def test_an_object_without_its_names_is_none() -> None:
    with pytest.raises(fields.UnreadableObject, match="the object has no uid"):
        roster.read_mesh({"metadata": {"name": "blue"}})
    with pytest.raises(fields.UnreadableObject, match="the object has no node"):
        roster.read_node({"metadata": METADATA, "spec": {"mesh": "blue"}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("720h", 2592000.0), ("90m", 5400.0), ("1h30m", 5400.0), ("1.5s", 1.5), ("10ms", 0.01)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert fields.read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "5", "5d", "1h 3m", "-1h", "1.2.3s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        fields.read_duration(text)
