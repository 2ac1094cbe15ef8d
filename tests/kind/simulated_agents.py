"""The operator as a process before an API server, and what the tests play around it: nodes, agents, their requests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.kind.control_plane import Client, ControlPlane, Refused, encoded, free_ports, wait_for

from wgmesh_operator.rbac import Permission, Scope

Json = dict[str, Any]

NAMESPACE = "wgmesh-system"
WGMESH = "/apis/wgmesh.dev/v1alpha1"
MESHES, NODES = f"{WGMESH}/wgmeshes", f"{WGMESH}/wgmeshnodes"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
OWN = f"/api/v1/namespaces/{NAMESPACE}"
DAEMON_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"


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
        "reachablePeers": heard,
        "expectedPeers": 2,
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
    """The API as the agent's pod on `node` reaches it, as soon as the operator has given it a service account."""
    wait_for(lambda: exists(plane.admin, f"{OWN}/serviceaccounts/wgmesh-{mesh}"), "the service account")
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


def health(operator: Operator) -> Json | None:
    with contextlib.suppress(urllib3.exceptions.HTTPError):
        url = f"http://127.0.0.1:{operator.port}/healthz"
        answer = urllib3.PoolManager().request("GET", url, timeout=5, retries=False)
        # Before kopf runs it says in words what it waits for.
        if answer.status == 200 and answer.headers["Content-Type"].startswith("application/json"):
            body: Json = answer.json()
            return body
    return None
