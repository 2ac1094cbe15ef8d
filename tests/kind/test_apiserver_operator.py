"""The operator before a real API server: agents and nodes are played, everything the operator says and does is real.

It runs with the permissions of `permissions.py` and no other.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tests.kind.control_plane import (
    Client,
    ControlPlane,
    Refused,
    control_plane,
    wait_for,
)
from tests.kind.simulated_agents import (
    CRDS,
    DAEMON_SETS,
    MESHES,
    NAMESPACE,
    NODES,
    OWN,
    RBAC,
    Operator,
    agent_of,
    answer,
    ask,
    condition,
    exists,
    forget_pods,
    grant,
    health,
    make_mesh,
    make_node,
    members,
    phase,
    reasons,
    remove_mesh,
    report,
    report_ready,
    request_of,
    rule,
    served,
    set_ready,
)
from tests.unit.operator.odd_requests import odd_requests

from wgmesh_api.identity import identity_of
from wgmesh_api.resources.crd import definitions
from wgmesh_api.roster import gossip_key_id
from wgmesh_operator.rbac import agent_permissions, operator_permissions


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        api = plane.admin
        api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for crd in definitions():
            api.create(CRDS, crd)
        for path in (MESHES, NODES):
            wait_for(lambda path=path: served(api, path), f"{path} is served")
        api.create(f"{OWN}/serviceaccounts", {"metadata": {"name": "operator"}})
        grant(api, "operator", operator_permissions(), {"kind": "ServiceAccount", "name": "operator"})
        rules = [rule(p) for p in agent_permissions()]
        api.create(f"{RBAC}/clusterroles", {"metadata": {"name": "wgmesh-agent"}, "rules": rules})
        yield plane


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[Operator]:
    running = Operator(plane, tmp_path)
    running.start()
    yield running
    running.kill()
    print(running.log[-8000:])
    assert "forbidden" not in running.log[running.forgiven :], running.log
    assert "pass rejected" not in running.log, running.log


@pytest.fixture
def api(plane: ControlPlane) -> Client:
    return plane.admin


@pytest.fixture
def workers(api: Client) -> Iterator[list[str]]:
    names = ["worker-a", "worker-b", "worker-c"]
    for index, name in enumerate(names):
        make_node(api, name, f"192.0.2.{index + 10}")
    yield names
    for name in names:
        with contextlib.suppress(Refused):
            api.delete(f"/api/v1/nodes/{name}")


@pytest.fixture
def mesh(api: Client, operator: Operator, workers: list[str]) -> Iterator[str]:
    make_mesh(api, "blue")
    wait_for(lambda: len(members(api, "blue")) == len(workers), "a WgMeshNode for each node")
    yield "blue"
    remove_mesh(api, "blue")


@pytest.fixture(autouse=True)
def _no_pods_left(api: Client) -> Iterator[None]:
    yield
    forget_pods(api)


def test_a_mesh_gets_all_it_needs(api: Client, operator: Operator, mesh: str, workers: list[str]) -> None:
    wait_for(lambda: exists(api, f"{DAEMON_SETS}/wgmesh-blue-tunnel"), "both DaemonSets")
    found = members(api, "blue")
    assert set(found) == set(workers)
    assert len({m["spec"]["addresses"][0] for m in found.values()}) == 3
    assert sum(m["spec"]["bootstrap"] for m in found.values()) == 2
    assert not any(m["spec"].get("endpointHint") for m in found.values())
    for path in (
        f"{OWN}/secrets/wgmesh-blue-ca",
        f"{OWN}/secrets/wgmesh-blue-gossip",
        f"{OWN}/serviceaccounts/wgmesh-blue",
        f"{RBAC}/clusterrolebindings/wgmesh-blue-agents",
        f"{DAEMON_SETS}/wgmesh-blue",
    ):
        owner = api.get(path)["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"]) == ("WgMesh", "blue"), path
    status = wait_for(
        lambda: (
            api.get(f"{MESHES}/blue")["status"].get("trustBundle") and api.get(f"{MESHES}/blue")["status"]
        ),
        "status",
    )
    assert status["nodes"] == "0/3"
    assert status["links"] == "0/6"
    assert len(status["bootstraps"]) == 2
    assert condition(api, "blue", "Ready")["reason"] == "NodesJoining"
    print(f"operator: {operator.memory_mib():.0f} MiB resident")


def test_the_status_says_when_it_is_whole_and_which_link_is_not(
    api: Client, mesh: str, workers: list[str]
) -> None:
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2)
    wait_for(lambda: condition(api, "blue", "FullyMeshed")["status"] == "True", "fully meshed")
    status = api.get(f"{MESHES}/blue")["status"]
    assert (status["nodes"], status["links"]) == ("3/3", "6/6")
    assert condition(api, "blue", "Ready")["status"] == "True"
    assert condition(api, "blue", "Degraded")["status"] == "False"
    worst = [{"node": "worker-b", "problem": "no probe for 12s"}]
    report_ready(api, "blue.worker-a", 1, unreachablePeers=worst)
    wait_for(lambda: condition(api, "blue", "FullyMeshed")["status"] == "False", "a link is missed")
    status = api.get(f"{MESHES}/blue")["status"]
    assert status["links"] == "5/6"
    assert status["downLinks"] == ["worker-a -> worker-b: no probe for 12s"]
    assert condition(api, "blue", "FullyMeshed")["message"].endswith("worker-a -> worker-b: no probe for 12s")
    wait_for(lambda: {"FullyMeshed", "LinksDown"} <= reasons(api, "blue"), "events")


def test_certificates_are_for_the_member_that_asks_alone(plane: ControlPlane, api: Client, mesh: str) -> None:
    wait_for(lambda: exists(api, f"{OWN}/serviceaccounts/wgmesh-blue"), "the account")
    agent = agent_of(plane, "blue", "worker-a")
    ask(agent, "wgmesh-blue-own", request_of("blue", "worker-a"))
    cert = x509.load_pem_x509_certificate(base64.b64decode(answer(api, "wgmesh-blue-own")["certificate"]))
    identity = identity_of(cert)
    spec = members(api, "blue")["worker-a"]["spec"]
    assert identity is not None
    assert (identity.mesh, identity.node) == ("blue", "worker-a")
    assert (identity.role.value == "bootstrap") is spec["bootstrap"]
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert spec["addresses"][0] in [str(a) for a in names.get_values_for_type(x509.IPAddress)]
    bundle = wait_for(lambda: api.get(f"{MESHES}/blue")["status"].get("trustBundle"), "the bundle")
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(bundle.encode()))
    foreign = x509.DNSName("kubernetes.default")
    for number, request in enumerate(
        [
            request_of("blue", "worker-b"),
            request_of("red", "worker-a"),
            request_of("blue", "worker-a", foreign),
        ]
    ):
        ask(agent, f"wgmesh-blue-wrong-{number}", request)
        denied = answer(api, f"wgmesh-blue-wrong-{number}")
        assert [c["type"] for c in denied["conditions"]] == ["Denied"]
        assert "certificate" not in denied
    admin_made = request_of("blue", "worker-a")
    ask(plane.admin, "wgmesh-blue-stranger", admin_made)
    assert answer(api, "wgmesh-blue-stranger")["conditions"][0]["type"] == "Denied"
    wait_for(lambda: "CertificateDenied" in reasons(api, "blue"), "an event")


def test_what_somebody_changes_is_put_right(api: Client, mesh: str) -> None:
    path = f"{DAEMON_SETS}/wgmesh-blue"
    wait_for(lambda: exists(api, path), "the DaemonSet")
    change = {"spec": {"template": {"spec": {"hostNetwork": False}}}}
    api.merge(path, change)
    wait_for(lambda: api.get(path)["spec"]["template"]["spec"].get("hostNetwork"), "put right")
    api.delete(f"{DAEMON_SETS}/wgmesh-blue-tunnel")
    wait_for(lambda: exists(api, f"{DAEMON_SETS}/wgmesh-blue-tunnel"), "made again")
    api.delete(f"{OWN}/secrets/wgmesh-blue-gossip")
    wait_for(lambda: exists(api, f"{OWN}/secrets/wgmesh-blue-gossip"), "made again")


def test_calm_meshes_are_not_written_to(api: Client, mesh: str, workers: list[str]) -> None:
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2)
    wait_for(lambda: condition(api, "blue", "FullyMeshed")["status"] == "True", "fully meshed")

    def versions() -> list[str]:
        paths = (f"{MESHES}/blue", f"{DAEMON_SETS}/wgmesh-blue", *(f"{NODES}/blue.{w}" for w in workers))
        return [api.get(path)["metadata"]["resourceVersion"] for path in paths]

    before = versions()
    set_ready(api, "worker-a", ready=True, since="2026-01-01T00:00:01Z")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert versions() == before
        time.sleep(0.2)


def test_killed_anywhere_it_goes_on_where_it_was(api: Client, operator: Operator, workers: list[str]) -> None:
    for delay in (0.0, 0.3, 0.6, 0.9, 1.2):
        make_mesh(api, "often")
        time.sleep(delay)
        operator.kill()
        operator.start()
        wait_for(lambda: len(members(api, "often")) == 3, "members")
        wait_for(lambda: exists(api, f"{DAEMON_SETS}/wgmesh-often-tunnel"), "DaemonSets")
        addresses = {m["spec"]["addresses"][0] for m in members(api, "often").values()}
        assert len(addresses) == 3
        operator.kill()
        operator.start()
        remove_mesh(api, "often")
    leftovers = [
        item["metadata"]["name"]
        for path in (
            f"{OWN}/secrets",
            f"{OWN}/serviceaccounts",
            DAEMON_SETS,
            NODES,
            f"{RBAC}/clusterrolebindings",
        )
        for item in api.get(path)["items"]
        if "often" in item["metadata"]["name"]
    ]
    assert leftovers == []


def test_a_deleted_node_is_a_member_no_more(api: Client, mesh: str) -> None:
    api.delete("/api/v1/nodes/worker-c")
    began = time.monotonic()
    wait_for(lambda: set(members(api, "blue")) == {"worker-a", "worker-b"}, "the member is gone", 15)
    print(f"gone {time.monotonic() - began:.2f} s after its node")


def test_a_narrower_selector_lets_nodes_leave_before_their_agents_go(api: Client, mesh: str) -> None:
    path = f"{DAEMON_SETS}/wgmesh-blue"
    wait_for(lambda: exists(api, path), "the DaemonSet")
    api.merge("/api/v1/nodes/worker-a", {"metadata": {"labels": {"mesh": "yes"}}})
    api.merge("/api/v1/nodes/worker-b", {"metadata": {"labels": {"mesh": "yes"}}})
    api.merge(f"{MESHES}/blue", {"spec": {"nodeSelector": {"mesh": "yes"}}})
    leaving = wait_for(
        lambda: members(api, "blue")["worker-c"]["metadata"].get("deletionTimestamp"), "worker-c leaves"
    )
    assert leaving
    time.sleep(1.0)
    assert "nodeSelector" not in api.get(path)["spec"]["template"]["spec"]
    report(api, "blue.worker-c", phase="Left")
    wait_for(
        lambda: api.get(path)["spec"]["template"]["spec"].get("nodeSelector") == {"mesh": "yes"}, "narrower"
    )
    assert set(members(api, "blue")) == {"worker-a", "worker-b"}


def test_a_lost_bootstrap_node_is_replaced(api: Client, mesh: str) -> None:
    def bootstraps() -> set[str]:
        return {name for name, m in members(api, "blue").items() if m["spec"]["bootstrap"]}

    before = wait_for(lambda: len(bootstraps()) == 2 and bootstraps(), "two bootstraps")
    lost = min(before)
    set_ready(api, lost, ready=False)
    # One write takes the role away, another gives it.
    after = wait_for(
        lambda: lost not in (found := bootstraps()) and len(found) == 2 and found, "another takes over"
    )
    listed = wait_for(
        lambda: (
            (found := {b["node"] for b in api.get(f"{MESHES}/blue")["status"]["bootstraps"]}) == after
            and found
        ),
        "the status names it",
    )
    assert listed == after


def test_a_deleted_member_comes_back_anew_at_its_address(api: Client, mesh: str) -> None:
    before = members(api, "blue")["worker-b"]
    api.delete(f"{NODES}/blue.worker-b")
    report(api, "blue.worker-b", phase="Left")
    after = wait_for(
        lambda: (
            (m := members(api, "blue").get("worker-b"))
            and m["metadata"]["uid"] != before["metadata"]["uid"]
            and m
        ),
        "a new WgMeshNode",
    )
    assert after["spec"]["addresses"] == before["spec"]["addresses"]


def test_an_external_machine_gets_a_bundle_and_a_status(api: Client, mesh: str) -> None:
    api.create(
        NODES,
        {
            "apiVersion": "wgmesh.dev/v1alpha1",
            "kind": "WgMeshNode",
            "metadata": {"name": "blue.laptop"},
            "spec": {"mesh": "blue", "node": "laptop", "external": True},
        },
    )
    path = f"{OWN}/secrets/wgmesh-blue-laptop-join"
    wait_for(lambda: exists(api, path), "the join bundle")
    bundle = json.loads(base64.b64decode(api.get(path)["data"]["bundle.json"]))
    assert set(bundle) == {"mesh", "node", "bootstraps", "addresses", "ca", "certificate", "key", "secrets"}
    assert bundle["secrets"] == []
    assert bundle["addresses"] == members(api, "blue")["laptop"]["spec"]["addresses"]
    cert = x509.load_pem_x509_certificate(bundle["certificate"].encode())
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(bundle["ca"].encode()))
    uid = members(api, "blue")["laptop"]["metadata"]["uid"]
    known = [
        {
            "node": "laptop",
            "uid": uid,
            "publicKey": "k" * 43 + "=",
            "endpoint": "198.51.100.7:54540",
            "reachable": True,
        }
    ]
    report_ready(api, "blue.worker-a", 2, externals=known)
    wait_for(lambda: phase(members(api, "blue")["laptop"]) == "Joined", "its status")
    assert members(api, "blue")["laptop"]["status"]["endpoint"] == "198.51.100.7:54540"
    api.delete(f"{NODES}/blue.laptop")
    wait_for(lambda: "laptop" not in members(api, "blue"), "it is gone")
    wait_for(lambda: not exists(api, path), "its bundle is gone")


def test_overlapping_meshes_are_told_and_not_deployed(api: Client, mesh: str) -> None:
    make_mesh(api, "red", cidrs=["10.232.128.0/17"], wireguard={"port": 54541})
    wait_for(lambda: condition(api, "red", "Degraded")["status"] == "True", "the overlap is told")
    assert condition(api, "red", "Degraded")["reason"] == "CIDROverlap"
    assert "of mesh blue" in condition(api, "red", "Ready")["message"]
    assert not exists(api, f"{DAEMON_SETS}/wgmesh-red")
    remove_mesh(api, "red")


def test_a_ca_rolls_over_through_two_trusted_ones(api: Client, mesh: str, workers: list[str]) -> None:
    def trusted() -> list[str]:
        pem = api.get(f"{MESHES}/blue")["status"].get("trustBundle", "")
        certs = x509.load_pem_x509_certificates(pem.encode()) if pem else []
        return [cert.fingerprint(hashes.SHA256()).hex() for cert in certs]

    (old,) = wait_for(trusted, "a CA")
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, trustedCAs=[old], certificateIssuer=old)
    api.merge(f"{MESHES}/blue", {"metadata": {"annotations": {"wgmesh.dev/rotate-ca": "1"}}})
    both = wait_for(lambda: len(trusted()) == 2 and trusted(), "two CAs trusted")
    assert both[0] == old
    new = both[1]
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, trustedCAs=both, certificateIssuer=old)
    wait_for(lambda: trusted() == [new, old], "the new one signs")
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, trustedCAs=[new, old], certificateIssuer=new)
    wait_for(lambda: trusted() == [new], "the old one is dropped")
    steps = {"CARotationStarted", "CASwitched", "CARotated"}
    wait_for(lambda: steps <= reasons(api, "blue"), "each step is an Event")


def test_a_gossip_key_changes_when_all_nodes_have_it(api: Client, mesh: str, workers: list[str]) -> None:
    path = f"{OWN}/secrets/wgmesh-blue-gossip"

    def ring() -> list[str]:
        data = api.get(path)["data"]
        return [gossip_key_id(base64.b64decode(key)) for key in json.loads(base64.b64decode(data["keyring"]))]

    (old,) = wait_for(ring, "a gossip key")
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, gossipKeys=[old])
    api.merge(f"{MESHES}/blue", {"metadata": {"annotations": {"wgmesh.dev/rotate-gossip-key": "1"}}})
    both = wait_for(lambda: len(ring()) == 2 and ring(), "two keys")
    assert both[0] == old
    new = both[1]
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, gossipKeys=both)
    wait_for(lambda: ring() == [new, old], "the new one encrypts")
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, gossipKeys=[new, old])
    wait_for(lambda: ring() == [new], "the old one is gone")
    steps = {"GossipKeyRotationStarted", "GossipKeySwitched", "GossipKeyRotated"}
    wait_for(lambda: steps <= reasons(api, "blue"), "each step is an Event")
    assert api.get(f"{MESHES}/blue")["status"]["gossipKeyCreatedAt"]


def test_the_probe_answers_and_it_ends_when_told(operator: Operator) -> None:
    body = wait_for(lambda: health(operator), "the probe")
    assert body["progress"]["idle_seconds"] < 60
    assert operator.stop() == 0


def test_an_api_server_that_goes_away_finds_the_operator_waiting(
    plane: ControlPlane, api: Client, operator: Operator, mesh: str, workers: list[str]
) -> None:
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2)
    wait_for(lambda: condition(api, "blue", "FullyMeshed")["status"] == "True", "fully meshed")
    plane.stop_api_server()
    time.sleep(20)
    assert health(operator) is not None
    plane.start_api_server()
    for path in (MESHES, NODES, "/api/v1/nodes"):
        wait_for(lambda path=path: served(api, path), f"{path} is served again")
    make_node(api, "worker-d", "192.0.2.40")
    began = time.monotonic()
    wait_for(lambda: "worker-d" in members(api, "blue"), "the new node is a member", 60)
    print(f"caught up {time.monotonic() - began:.1f} s after the API server was back")
    api.delete("/api/v1/nodes/worker-d")
    wait_for(lambda: "worker-d" not in members(api, "blue"), "gone again")
    assert operator.is_running()
    # Until it has read its roles, an API server returns that to all clients.
    operator.forgiven = len(operator.log)


def test_what_happened_while_the_operator_was_down_is_caught_up_with(
    api: Client, operator: Operator, mesh: str, workers: list[str]
) -> None:
    operator.kill()
    make_node(api, "worker-d", "192.0.2.40")
    api.delete("/api/v1/nodes/worker-c")
    operator.start()
    wait_for(lambda: set(members(api, "blue")) == {"worker-a", "worker-b", "worker-d"}, "members")
    api.delete("/api/v1/nodes/worker-d")


ODD_MOMENTS = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]


@pytest.mark.parametrize("moment", ODD_MOMENTS)
def test_an_odd_moment_in_an_agents_status_stops_neither_a_running_nor_a_starting_operator(
    api: Client, operator: Operator, mesh: str, workers: list[str], moment: str
) -> None:
    for field in ("publicKeySince", "certificateNotAfter", "lastChange"):
        report_ready(api, f"{mesh}.{workers[0]}", 2, **{field: moment})
    name = "worker-late"
    for _ in range(2):
        make_node(api, name, "192.0.2.99")
        wait_for(lambda: name in members(api, mesh), "a member for the new node")
        api.delete(f"/api/v1/nodes/{name}")
        wait_for(lambda: name not in members(api, mesh), "the member is gone with its node")
        operator.kill()
        operator.start()


def test_odd_signing_requests_are_denied_and_the_next_is_signed(
    plane: ControlPlane, api: Client, operator: Operator, mesh: str, workers: list[str]
) -> None:
    node = workers[0]
    agent = agent_of(plane, mesh, node)
    verdicts = {}
    for number, (what, request) in enumerate(odd_requests(node).items()):
        name = f"wgmesh-{mesh}-{node}-odd{number}"
        try:
            ask(agent, name, request)
        except Refused:
            # the API server itself reads requests, and takes fewer than an operator must expect
            continue
        verdicts[what] = [c["type"] for c in answer(api, name)["conditions"]]
    assert "an X.400 name" in verdicts
    assert set(map(tuple, verdicts.values())) == {("Denied",)}
    ask(agent, f"wgmesh-{mesh}-{node}-proper", request_of(mesh, node))
    assert answer(api, f"wgmesh-{mesh}-{node}-proper")["certificate"]


def test_a_plain_nodes_report_on_an_external_member_counts_for_nothing(
    api: Client, operator: Operator, mesh: str, workers: list[str]
) -> None:
    api.create(
        NODES,
        {
            "apiVersion": "wgmesh.dev/v1alpha1",
            "kind": "WgMeshNode",
            "metadata": {"name": f"{mesh}.laptop"},
            "spec": {"mesh": mesh, "node": "laptop", "external": True},
        },
    )
    wait_for(lambda: members(api, mesh)["laptop"].get("status"), "the operator reports on it")
    found = members(api, mesh)
    uid = found["laptop"]["metadata"]["uid"]
    plain = next(name for name in workers if not found[name]["spec"]["bootstrap"])
    duty = next(name for name in workers if found[name]["spec"]["bootstrap"])
    said = {"node": "laptop", "uid": uid, "endpoint": "192.0.2.66:1", "reachable": True}
    report_ready(api, f"{mesh}.{plain}", 2, externals=[said | {"publicKey": "E" * 43 + "="}])
    report_ready(api, f"{mesh}.{duty}", 2, externals=[said | {"publicKey": "T" * 43 + "="}])
    wait_for(lambda: members(api, mesh)["laptop"]["status"].get("publicKey"), "the key is reported")
    assert members(api, mesh)["laptop"]["status"]["publicKey"] == "T" * 43 + "="
