"""The certificate in use: renewed before expiry, with another role, another CA, and never for another member."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from tests.unit.kube.harness import (
    MemoryApi,
    certificate,
    make_authority,
    mesh_body,
    node_body,
    node_path,
    tls_files,
)

from wgmesh_agent.kube.api_client import ApiError
from wgmesh_agent.kube.certificate import (
    CERTIFICATE,
    KEY,
    CertificateStore,
    RequestDenied,
    UnusableCertificate,
)
from wgmesh_agent.kube.certificate_renewal import CertificateRenewer
from wgmesh_agent.kube.list_watch import Object
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_api.certificates import cert_to_pem, generate_key
from wgmesh_api.identity import Role, identity_of


class Ground:
    """An agent with a good certificate, and an operator that signs what it is asked for."""

    def __init__(self, folder: Path, *, begun: datetime | None = None) -> None:
        self.authority = make_authority()
        self.api = MemoryApi()
        self.api.put(mesh_body(self.trust()))
        self.api.put(node_body())
        self.api.on_create = self._sign
        self.denies = False
        self.signed_key: Any = None
        self.role = Role.NODE
        self.view = RosterCache("blue", "alpha")
        self.view.start(self.api)
        self.identity = CertificateStore(folder)
        self.identity.save_uid("uid-alpha")
        more = {} if begun is None else {"begun": begun}
        files = tls_files(self.authority, **more)
        (folder / KEY).write_bytes(files.key)
        self.credentials = Credentials(files)
        self.renewal = CertificateRenewer(self.api, self.view, self.identity, self.credentials)

    def trust(self) -> str:
        return cert_to_pem(self.authority.cert).decode()

    def roll_over(self) -> None:
        """Another authority signs from now on; the one before is trusted still."""
        before = self.trust()
        self.authority = make_authority()
        self.api.put(mesh_body(self.trust() + before))

    def _sign(self, body: Object) -> None:
        path = f"/apis/certificates.k8s.io/v1/certificatesigningrequests/{body['metadata']['name']}"
        request = x509.load_pem_x509_csr(base64.b64decode(body["spec"]["request"]))
        if self.denies:
            status: dict[str, object] = {"conditions": [{"type": "Denied", "message": "not you"}]}
        else:
            pem = certificate(self.authority, self.signed_key or request, role=self.role)
            status = {"certificate": base64.b64encode(pem).decode()}
        self.api.objects[path]["status"] = status

    @property
    def asked(self) -> int:
        return len(self.api.created)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_a_good_certificate_is_left_alone(ground: Ground) -> None:
    before = ground.credentials.files
    await ground.renewal.reconcile()
    assert ground.asked == 0
    assert ground.credentials.files is before


async def test_two_thirds_into_its_life_it_is_renewed_and_kept(tmp_path: Path) -> None:
    ground = Ground(tmp_path, begun=datetime.now(UTC) - timedelta(minutes=41))
    older = node_body()
    older["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    ground.api.put(older)
    generation = ground.view.changes.generation
    before = ground.credentials.files.certificate
    await ground.renewal.reconcile()
    assert ground.asked == 1
    assert ground.credentials.files.certificate != before
    assert ground.view.changes.generation > generation
    kept = CertificateStore(tmp_path).load()
    assert kept is not None
    assert kept.certificate == ground.credentials.files.certificate
    await ground.renewal.reconcile()
    assert ground.asked == 1


async def test_authorities_are_taken_over_and_the_new_one_s_certificate_asked_for(ground: Ground) -> None:
    old = ground.credentials.files
    ground.roll_over()
    await ground.renewal.reconcile()
    files = ground.credentials.files
    assert files.authorities == ground.trust().encode() + old.authorities
    files.leaf().verify_directly_issued_by(ground.authority.cert)


async def test_authorities_count_even_while_no_certificate_can_be_had(ground: Ground) -> None:
    ground.roll_over()
    ground.api.refusals = [ApiError("away")]
    with pytest.raises(ApiError):
        await ground.renewal.reconcile()
    assert ground.trust().encode() in ground.credentials.files.authorities


async def test_another_role_is_asked_for(ground: Ground) -> None:
    ground.role = Role.BOOTSTRAP
    ground.api.put(node_body(bootstrap=True))
    await ground.renewal.reconcile()
    assert "server auth" in ground.api.created[0]["spec"]["usages"]
    identity = identity_of(ground.credentials.files.leaf())
    assert identity is not None
    assert identity.role is Role.BOOTSTRAP
    assert ground.view.own is not None
    assert ground.renewal.is_current(ground.view.own)


async def test_a_denied_request_leaves_the_certificate_there_is(ground: Ground) -> None:
    ground.roll_over()
    ground.denies = True
    before = ground.credentials.files.certificate
    with pytest.raises(RequestDenied, match="not you"):
        await ground.renewal.reconcile()
    assert ground.credentials.files.certificate == before


@pytest.mark.parametrize("change", ["deleted", "replaced", "gone", "mesh without authority"])
async def test_nothing_is_asked_for_a_member_this_node_is_not(ground: Ground, change: str) -> None:
    ground.roll_over()
    match change:
        case "deleted":
            ground.api.put(node_body(deleting=True))
        case "replaced":
            ground.api.put(node_body(uid="uid-anew"))
        case "gone":
            ground.api.remove(node_path())
        case _:
            ground.api.put(mesh_body(""))
    await ground.renewal.reconcile()
    assert ground.asked == 0


@pytest.mark.parametrize("bundle", ["moon", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_authorities_that_cannot_be_read_leave_those_in_use(ground: Ground, bundle: str) -> None:
    before = ground.credentials.files
    ground.api.put(mesh_body(bundle))
    with capture_logs() as logs:
        await ground.renewal.reconcile()
        await ground.renewal.reconcile()
    assert ground.credentials.files is before
    assert [line["event"] for line in logs] == ["cannot adopt the CA certificates"]


async def test_a_certificate_for_another_key_is_not_used(tmp_path: Path) -> None:
    ground = Ground(tmp_path, begun=datetime.now(UTC) - timedelta(minutes=41))
    ground.signed_key = generate_key()
    before = ground.credentials.files
    with pytest.raises(UnusableCertificate, match="for a key other"):
        await ground.renewal.reconcile()
    assert ground.credentials.files is before
    assert not (tmp_path / CERTIFICATE).exists()
