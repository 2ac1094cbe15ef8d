"""A cluster in memory: objects as an API server keeps them, for decisions and for the controller."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wgmesh_api.certificates import generate_key
from wgmesh_api.fields import write_time
from wgmesh_api.roster import API_VERSION, NODE_NAME_EXTRA, SIGNER
from wgmesh_operator.api_client import ApiError
from wgmesh_operator.api_resources import WATCHED_KINDS, WatchedResource
from wgmesh_operator.clock import SystemClock
from wgmesh_operator.cluster_cache import ClusterCache
from wgmesh_operator.decisions.actions import (
    Action,
    Apply,
    Create,
    Delete,
    Emit,
    Json,
    Kind,
    Replace,
    SetFinalizers,
)
from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.model import AnyMesh, ClusterState, Mesh, read_mesh_object

NAMESPACE = "wgmesh-system"
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DEPLOYMENT = AgentDefaults(NAMESPACE, "wgmesh:test")
NODE_KIND = "Node"
_KEYS = [generate_key() for _ in range(3)]


def entropy(seed: int = 0) -> Entropy:
    """Repeats itself: keys are few, as making them takes time."""
    chance = random.Random(seed)
    return Entropy(
        key=lambda: chance.choice(_KEYS),
        serial=lambda: chance.randrange(1, 2**150),
        random_bytes=chance.randbytes,
    )


def mesh_body(name: str = "blue", *, created: datetime = NOW, **spec: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMesh",
        "metadata": {"name": name, "creationTimestamp": write_time(created)},
        "spec": {"cidrs": ["10.232.0.0/16"]} | spec,
    }


def valid(mesh: AnyMesh) -> Mesh:
    """`mesh`, which must have a spec that can be read."""
    assert isinstance(mesh, Mesh), mesh
    return mesh


def mesh_of(body: Json) -> Mesh:
    """The mesh of a body that an API server has stamped with a uid."""
    return valid(read_mesh_object({**body, "metadata": {"uid": "uid-0"} | body["metadata"]}))


def node_body(
    name: str,
    address: str = "192.0.2.1",
    *,
    ready: bool = True,
    changed: datetime = NOW - timedelta(days=1),
    zone: str = "",
    labels: dict[str, str] | None = None,
    taints: Iterable[Json] = (),
    pod_cidr: str = "",
    external: str = "",
    annotations: dict[str, str] | None = None,
) -> Json:
    zones = {"topology.kubernetes.io/zone": zone} if zone else {}
    condition = {
        "type": "Ready",
        "status": "True" if ready else "Unknown",
        "lastTransitionTime": write_time(changed),
    }
    return {
        "kind": NODE_KIND,
        "metadata": {"name": name, "labels": zones | (labels or {}), "annotations": annotations or {}},
        "spec": {"taints": list(taints)} | ({"podCIDRs": [pod_cidr]} if pod_cidr else {}),
        "status": {
            "conditions": [condition],
            "addresses": [
                *([{"type": "InternalIP", "address": address}] if address else []),
                *([{"type": "ExternalIP", "address": external}] if external else []),
                {"type": "Hostname", "address": name},
            ],
        },
    }


def external_body(mesh: str = "blue", node: str = "laptop", **spec: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMeshNode",
        "metadata": {"name": f"{mesh}.{node}"},
        "spec": {"mesh": mesh, "node": node, "external": True} | spec,
    }


def csr_pem(
    node: str = "alpha",
    uri: str | None = "wgmesh://blue/node/alpha",
    names: Iterable[x509.GeneralName] = (),
    key: Any = None,
) -> bytes:
    every = [*([x509.UniformResourceIdentifier(uri)] if uri else []), *names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    )
    if every:
        builder = builder.add_extension(x509.SubjectAlternativeName(every), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def csr_body(
    name: str = "wgmesh-blue-alpha-x",
    request: bytes | None = None,
    *,
    account: str = f"system:serviceaccount:{NAMESPACE}:wgmesh-blue",
    nodes: Iterable[str] = ("alpha",),
    usages: Iterable[str] = ("digital signature", "client auth"),
    expiration: int | None = None,
) -> Json:
    import base64

    return {
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name, "creationTimestamp": write_time(NOW)},
        "spec": {
            "signerName": SIGNER,
            "username": account,
            "extra": {NODE_NAME_EXTRA: list(nodes)},
            "usages": list(usages),
            "request": base64.b64encode(csr_pem() if request is None else request).decode(),
            **({"expirationSeconds": expiration} if expiration is not None else {}),
        },
    }


class FakeClock:
    """Stands still until a test moves it, or code sleeps."""

    def __init__(self, time: datetime = NOW) -> None:
        self.time = time
        self.seconds = 0.0
        self.processor_seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def thread_time(self) -> float:
        return self.processor_seconds

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class MemoryApi:
    """What an API server does to objects: versions, uids, finalizers, generations, conflicts. No schemas.

    Server-side apply is merging: enough for one manager a field, as the operator and agents are.
    """

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.objects: dict[tuple[str, str], Json] = {}
        self.events: list[Emit] = []
        self.done: list[Action] = []
        self.cidrs: list[str] = []
        self._version = 0
        self._uids = 0
        self.failures: dict[str, Exception] = {}
        """Kinds whose writes fail, and how."""

    def put(self, body: Json) -> Json:
        """As some other user: create, or replace all of it."""
        key = (body["kind"], body["metadata"]["name"])
        old = self.objects.get(key)
        body = copy.deepcopy(body)
        self._stamp(body, old)
        self.objects[key] = body
        return body

    def remove(self, kind: str, name: str) -> None:
        """As another user: delete; an object with finalizers stays until they are removed."""
        body = self.objects[(kind, name)]
        if body["metadata"].get("finalizers"):
            body["metadata"].setdefault("deletionTimestamp", write_time(self.now))
            self._bump(body)
        else:
            self._drop(kind, name)

    def get(self, kind: str, name: str) -> Json | None:
        return self.objects.get((kind, name))

    def of_kind(self, kind: str) -> list[Json]:
        return [body for (k, _), body in self.objects.items() if k == kind]

    def report(self, name: str, **status: Any) -> None:
        """As a member's agent."""
        body = self.objects[("WgMeshNode", name)]
        body["status"] = status
        self._bump(body)

    def report_ready(self, name: str, heard: int, **more: Any) -> None:
        ready = {"type": "Ready", "status": "True", "reason": "Joined", "lastTransitionTime": write_time(NOW)}
        not_after = write_time(self.now + timedelta(days=30))
        status = {
            "phase": "Joined",
            "reachablePeers": heard,
            "certificateNotAfter": not_after,
            "conditions": [ready],
        }
        for outside in more.get("externals", ()):
            about = self.get("WgMeshNode", f"{name.split('.')[0]}.{outside['node']}")
            outside.setdefault("uid", about["metadata"]["uid"] if about else "")
        self.report(name, **(status | more))

    def state(self) -> ClusterState:
        """As the operator's own copy would have it."""
        store = ClusterCache(NAMESPACE, lambda _names: None)
        for watched in WatchedResource:
            store.replace_from_list(watched, *self.list_all(watched))
        return store.state

    # what the controller calls

    def execute(self, action: Action) -> Json | None:
        failure = self.failures.get(action.kind.value)
        if failure is not None and not isinstance(action, Emit):
            raise failure
        self.done.append(action)
        match action:
            case Apply():
                return copy.deepcopy(self._apply(action))
            case Create():
                if (action.kind.value, action.name) in self.objects:
                    raise ApiError(409, "AlreadyExists", f"{action.name} already exists")
                return copy.deepcopy(self.put(action.manifest))
            case Replace():
                return copy.deepcopy(self._replace(action))
            case SetFinalizers():
                return copy.deepcopy(self._set_finalizers(action))
            case Delete():
                return copy.deepcopy(self._delete(action))
            case Emit():
                self.events.append(action)
                return None

    def list_all(self, watched: WatchedResource) -> tuple[list[Json], str]:
        kind = {w: k.value for k, w in WATCHED_KINDS.items()}.get(watched, NODE_KIND)
        return copy.deepcopy(self.of_kind(kind)), str(self._version)

    def service_cidrs(self) -> list[str]:
        return self.cidrs

    def _apply(self, action: Apply) -> Json:
        key = (action.kind.value, action.name)
        old = self.objects.get(key)
        if action.subresource:
            if old is None:
                raise ApiError(404, "NotFound", f"{action.name} not found")
            if old.get("status") != action.manifest["status"]:
                old["status"] = copy.deepcopy(action.manifest["status"])
                self._bump(old)
            return old
        if old is None:
            return self.put(action.manifest)
        merged = _merged(old, {k: v for k, v in action.manifest.items() if k != "status"})
        if merged != old:
            if merged.get("spec") != old.get("spec"):
                merged["metadata"]["generation"] += 1
            self.objects[key] = merged
            self._bump(merged)
        return self.objects[key]

    def _replace(self, action: Replace) -> Json:
        key = (action.kind.value, action.name)
        old = self._checked(key, action.manifest["metadata"].get("resourceVersion"))
        body = copy.deepcopy(action.manifest)
        if action.subresource:
            body = copy.deepcopy(old) | {"status": body["status"]}
        self._stamp(body, old)
        self.objects[key] = body
        return body

    def _set_finalizers(self, action: SetFinalizers) -> Json | None:
        body = self._checked((action.kind.value, action.name), action.resource_version)
        body["metadata"]["finalizers"] = list(action.finalizers)
        self._bump(body)
        if body["metadata"].get("deletionTimestamp") and not action.finalizers:
            self._drop(action.kind.value, action.name)
            return None
        return body

    def _delete(self, action: Delete) -> Json | None:
        body = self.objects.get((action.kind.value, action.name))
        if body is None:
            return None
        if action.uid and action.uid != body["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "another uid")
        self.remove(action.kind.value, action.name)
        return self.objects.get((action.kind.value, action.name))

    def _checked(self, key: tuple[str, str], version: str | None) -> Json:
        body = self.objects.get(key)
        if body is None:
            raise ApiError(404, "NotFound", f"{key[1]} not found")
        if version and version != body["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", "the object has been modified")
        return body

    def _drop(self, kind: str, name: str) -> None:
        uid = self.objects.pop((kind, name))["metadata"]["uid"]
        self._version += 1
        for (owned_kind, owned_name), body in list(self.objects.items()):
            owners = body["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners):
                self.remove(owned_kind, owned_name)

    def _stamp(self, body: Json, old: Json | None) -> None:
        metadata = body["metadata"]
        if old is None:
            self._uids += 1
            metadata["uid"] = f"uid-{self._uids}"
            metadata["generation"] = 1
            metadata.setdefault("creationTimestamp", write_time(self.now))
        else:
            for key in ("uid", "creationTimestamp"):
                metadata.setdefault(key, old["metadata"].get(key))
            changed = old.get("spec") != body.get("spec")
            metadata["generation"] = old["metadata"]["generation"] + changed
        self._bump(body)

    def _bump(self, body: Json) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)


class ApiClock(SystemClock):
    """Measures real time; the time of day is that of an API in memory."""

    def __init__(self, api: MemoryApi) -> None:
        self._api = api

    def now(self) -> datetime:
        return self._api.now


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return copy.deepcopy(new)


def cluster_of(count: int = 3, **spec: Any) -> MemoryApi:
    """Nodes n0, n1, … and a mesh blue."""
    api = MemoryApi()
    for index in range(count):
        address = f"192.0.{2 + index // 250}.{1 + index % 250}"
        api.put(node_body(f"n{index}", address, pod_cidr=f"172.{16 + index // 256}.{index % 256}.0/24"))
    api.put(mesh_body(**spec))
    return api


def settle(api: MemoryApi, mesh: str = "blue", *, passes: int = 20, seed: int = 0) -> int:
    """Plan and do until nothing is left to do; how many passes it took. Statuses are written at once."""
    from wgmesh_operator.decisions.plan import plan_mesh

    for number in range(passes):
        plan = plan_mesh(mesh, api.state(), DEPLOYMENT, api.now, entropy(seed + number))
        for action in plan.actions:
            api.execute(action)
        body = api.get("WgMesh", mesh)
        if plan.status is not None and body is not None and body.get("status") != plan.status:
            api.execute(status_of(mesh, plan.status))
            for event in plan.events:
                api.execute(event)
        elif not plan.actions:
            return number
    raise AssertionError(f"still to do after {passes} passes: {plan.actions}")


def status_of(mesh: str, status: Json) -> Apply:
    return Apply(Kind.MESH, {"metadata": {"name": mesh}, "status": status}, "status")


def condition(api: MemoryApi, kind: str, mesh: str = "blue") -> Json:
    body = api.get("WgMesh", mesh)
    assert body is not None
    found: Json = next(c for c in body["status"]["conditions"] if c["type"] == kind)
    return found
