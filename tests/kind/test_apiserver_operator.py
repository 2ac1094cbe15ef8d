"""The operator before a real API server: agents and nodes are played, everything the operator says and does is real.

It runs with the permissions of `permissions.py` and no other.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kind.control_plane import (
    Client,
    ControlPlane,
    Refused,
    control_plane,
    encoded,
    free_ports,
    wait_for,
)

from wgmesh_api.identity import identity_of
from wgmesh_api.resources.crd import definitions
from wgmesh_api.roster import gossip_key_id
from wgmesh_operator.permissions import Permission, Scope, agent_permissions, operator_permissions

Json = dict[str, Any]

NAMESPACE = "wgmesh-system"
WGMESH = "/apis/wgmesh.dev/v1alpha1"
MESHES, NODES = f"{WGMESH}/wgmeshes", f"{WGMESH}/wgmeshnodes"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OWN = f"/api/v1/namespaces/{NAMESPACE}"
DAEMON_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"


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


def served(api: Client, path: str) -> bool:
    with contextlib.suppress(Refused):
        return "items" in api.get(path)
    return False


def rule(permission: Permission) -> Json:
    return {
        "apiGroups": [permission.group],
        "resources": [permission.resource],
        "verbs": sorted(permission.verbs),
        **({"resourceNames": list(permission.names)} if permission.names else {}),
    }


def grant(api: Client, name: str, permissions: tuple[Permission, ...], subject: Json) -> None:
    subject = subject | {"namespace": NAMESPACE}
    for scope, namespace in (
        (Scope.CLUSTER, None),
        (Scope.OWN_NAMESPACE, NAMESPACE),
        (Scope.DEFAULT_NAMESPACE, "default"),
    ):
        rules = [rule(p) for p in permissions if p.scope is scope]
        base = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
        kind, roles, bindings = (
            ("Role", "roles", "rolebindings")
            if namespace
            else ("ClusterRole", "clusterroles", "clusterrolebindings")
        )
        api.create(f"{base}/{roles}", {"metadata": {"name": name}, "rules": rules})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        api.create(f"{base}/{bindings}", {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]})


class Operator:
    """The command `wgmesh-operator` as a process."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._plane = plane
        self._log = folder / "operator.log"
        self._kubeconfig = plane.kubeconfig(plane.token(NAMESPACE, "operator"))
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self.forgiven = 0
        """How much of its log may say that it was forbidden something."""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "wgmesh_operator.main"),
                    *("--namespace", NAMESPACE, "--agent-image", "wgmesh:test", "--log-format", "text"),
                    *("--health-port", str(self.port)),
                ],
                env=os.environ | {"KUBECONFIG": str(self._kubeconfig)},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def memory_mib(self) -> float:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def operator(plane: ControlPlane, tmp_path: Path) -> Iterator[Operator]:
    running = Operator(plane, tmp_path)
    running.start()
    yield running
    running.kill()
    print(running.log[-8000:])
    assert "forbidden" not in running.log[running.forgiven :], running.log
    assert "looking at it failed" not in running.log, running.log


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


def make_node(api: Client, name: str, address: str, *, ready: bool = True) -> None:
    api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": {"role": "worker"}}})
    set_ready(api, name, ready=ready)
    status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    api.merge(f"/api/v1/nodes/{name}/status", status)


def set_ready(api: Client, name: str, *, ready: bool, since: str = "2026-01-01T00:00:00Z") -> None:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "Unknown",
        "lastTransitionTime": since,
        "reason": "Test",
        "message": "",
    }
    api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})


def make_mesh(api: Client, name: str, **spec: Any) -> None:
    api.create(
        MESHES,
        {
            "apiVersion": "wgmesh.dev/v1alpha1",
            "kind": "WgMesh",
            "metadata": {"name": name},
            "spec": {"cidrs": ["10.232.0.0/16"]} | spec,
        },
    )


def remove_mesh(api: Client, name: str) -> None:
    """Delete it, with its agents leaving as they should."""
    api.delete(f"{MESHES}/{name}")

    def gone() -> bool:
        for member in members(api, name).values():
            if member["metadata"].get("deletionTimestamp") and phase(member) != "Left":
                with contextlib.suppress(Refused):
                    report(api, member["metadata"]["name"], phase="Left")
        finish_foreground_deletions(api, name)
        return not exists(api, f"{MESHES}/{name}")

    wait_for(gone, f"mesh {name} is gone", 60)


def finish_foreground_deletions(api: Client, name: str) -> None:
    # the garbage collector's part: there is no controller manager here
    for daemon_set in (f"wgmesh-{name}", f"wgmesh-{name}-tunnel"):
        with contextlib.suppress(Refused):
            body = api.get(f"{DAEMON_SETS}/{daemon_set}")
            if body["metadata"].get("deletionTimestamp"):
                api.merge(f"{DAEMON_SETS}/{daemon_set}", {"metadata": {"finalizers": []}})


def exists(api: Client, path: str) -> bool:
    try:
        api.get(path)
    except Refused as refused:
        if refused.code != 404:
            raise
        return False
    return True


def members(api: Client, mesh: str) -> dict[str, Json]:
    every = api.get(NODES)["items"]
    return {m["spec"]["node"]: m for m in every if m["spec"]["mesh"] == mesh}


def phase(member: Json) -> str:
    return str((member.get("status") or {}).get("phase", ""))


def report(api: Client, name: str, **status: Any) -> None:
    body = {"apiVersion": "wgmesh.dev/v1alpha1", "kind": "WgMeshNode", "status": status}
    api.apply(f"{NODES}/{name}/status", body, "wgmesh-agent")


def report_ready(api: Client, name: str, heard: int, **more: Any) -> None:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Joined",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {
        "phase": "Joined",
        "heard": heard,
        "expected": 2,
        "certificateNotAfter": "2099-01-01T00:00:00Z",
        "conditions": [ready],
    }
    report(api, name, **(status | more))


def condition(api: Client, mesh: str, kind: str) -> Json:
    status = api.get(f"{MESHES}/{mesh}").get("status") or {}
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {"status": ""})


def reasons(api: Client, mesh: str) -> set[str]:
    events = api.get("/api/v1/namespaces/default/events")["items"]
    return {event["reason"] for event in events if event["involvedObject"]["name"] == mesh}


def agent_of(plane: ControlPlane, mesh: str, node: str) -> Client:
    """The API as the agent's pod on `node` reaches it."""
    uid = plane.admin.get(f"/api/v1/nodes/{node}")["metadata"]["uid"]
    name = f"wgmesh-{mesh}-{node}"
    if not exists(plane.admin, f"{OWN}/pods/{name}"):
        container = {"name": "agent", "image": "wgmesh:test"}
        spec = {"nodeName": node, "serviceAccountName": f"wgmesh-{mesh}", "containers": [container]}
        plane.admin.create(f"{OWN}/pods", {"metadata": {"name": name}, "spec": spec})
    pod = plane.admin.get(f"{OWN}/pods/{name}")
    assert uid
    bound = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]}
    return plane.client_with_token(plane.token(NAMESPACE, f"wgmesh-{mesh}", bound))


def request_of(mesh: str, node: str, *names: x509.GeneralName, role: str = "node") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    uri = x509.UniformResourceIdentifier(f"wgmesh://{mesh}/{role}/{node}")
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)]))
        .add_extension(x509.SubjectAlternativeName([uri, *names]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def ask(agent: Client, name: str, request: bytes) -> None:
    agent.create(
        CSRS,
        {
            "metadata": {"name": name},
            "spec": {
                "request": encoded(request),
                "signerName": "wgmesh.dev/node",
                "usages": ["digital signature", "client auth", "server auth"],
            },
        },
    )


def answer(api: Client, name: str) -> Json:
    def answered() -> Json | None:
        status: Json = api.get(f"{CSRS}/{name}").get("status") or {}
        denied = any(c["type"] in ("Denied", "Failed") for c in status.get("conditions", []))
        return status if denied or status.get("certificate") else None

    found: Json = wait_for(answered, f"{name} is answered")
    return found


def forget_pods(api: Client) -> None:
    for pod in api.get(f"{OWN}/pods")["items"]:
        path = f"{OWN}/pods/{pod['metadata']['name']}"
        api.request("DELETE", path, {"gracePeriodSeconds": 0})


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
    assert {m["spec"]["endpointHint"] for m in found.values()} == {"192.0.2.10", "192.0.2.11", "192.0.2.12"}
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
    worst = [{"node": "worker-b", "problem": "not heard for 12s"}]
    report_ready(api, "blue.worker-a", 1, worst=worst)
    wait_for(lambda: condition(api, "blue", "FullyMeshed")["status"] == "False", "a link is missed")
    status = api.get(f"{MESHES}/blue")["status"]
    assert status["links"] == "5/6"
    assert status["worstLinks"] == ["worker-a -> worker-b: not heard for 12s"]
    assert condition(api, "blue", "FullyMeshed")["message"].endswith(
        "worker-a -> worker-b: not heard for 12s"
    )
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
            "heard": True,
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
        report_ready(api, f"blue.{worker}", 2, trusted=[old], certificateIssuer=old)
    api.merge(f"{MESHES}/blue", {"metadata": {"annotations": {"wgmesh.dev/rotate-ca": "1"}}})
    both = wait_for(lambda: len(trusted()) == 2 and trusted(), "two CAs trusted")
    assert both[0] == old
    new = both[1]
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, trusted=both, certificateIssuer=old)
    wait_for(lambda: trusted() == [new, old], "the new one signs")
    for worker in workers:
        report_ready(api, f"blue.{worker}", 2, trusted=[new, old], certificateIssuer=new)
    wait_for(lambda: trusted() == [new], "the old one is dropped")
    steps = {"CARollOverStarted", "CASwitched", "CARolledOver"}
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
    assert api.get(f"{MESHES}/blue")["status"]["gossipKeyMade"]


def health(operator: Operator) -> Json | None:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        url = f"http://127.0.0.1:{operator.port}/healthz"
        answer = urllib3.PoolManager().request("GET", url, timeout=5, retries=False)
        # Before kopf runs it says in words what it waits for.
        if answer.status == 200 and answer.headers["Content-Type"].startswith("application/json"):
            body: Json = answer.json()
            return body
    return None


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
    # Until it has read its roles, an API server says so to everybody.
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
