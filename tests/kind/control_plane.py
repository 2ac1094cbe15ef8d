"""etcd and kube-apiserver as two processes on loopback: the real API without a cluster.

Programs are those of the kind node image (`KIND_CACHE`). Users are client certificates; service accounts get tokens
bound to a node by the API itself, as kubelets ask for them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Json = dict[str, Any]

PROGRAMS = Path(os.environ.get("KIND_CACHE", "/var/cache/kind-local")) / "bin"
_START_SECONDS = 60.0
_DISABLED = "ServiceAccount,TaintNodesByCondition"
_NOT_EPHEMERAL = (20000, 32000)
"""Ports below those that Linux gives to outgoing connections."""
_CHANCE = random.SystemRandom()


class Refused(Exception):
    """The API server said no; `message` is what kubectl would print."""

    def __init__(self, code: int, body: Json) -> None:
        self.code = code
        self.reason = str(body.get("reason", ""))
        self.message = str(body.get("message", ""))
        super().__init__(f"{code} {self.reason}: {self.message}")


@dataclass(frozen=True, slots=True)
class Client:
    """One user's requests: JSON in, JSON out. Raises Refused."""

    server: str
    pool: urllib3.PoolManager
    token: str | None = None

    def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        answer = self.pool.request(
            method,
            f"{self.server}{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=30,
            retries=False,
        )
        content: Json = json.loads(answer.data) if answer.data.startswith(b"{") else {"text": answer.data}
        if answer.status >= 300:
            raise Refused(answer.status, content)
        return content

    def get(self, path: str) -> Json:
        return self.request("GET", path)

    def create(self, path: str, body: Json) -> Json:
        return self.request("POST", path, body)

    def replace(self, path: str, body: Json) -> Json:
        return self.request("PUT", path, body)

    def merge(self, path: str, body: Json) -> Json:
        return self.request("PATCH", path, body, "application/merge-patch+json")

    def apply(self, path: str, body: Json, manager: str = "test", *, force: bool = True) -> Json:
        query = f"?fieldManager={manager}&force={str(force).lower()}"
        return self.request("PATCH", path + query, body, "application/apply-patch+yaml")

    def delete(self, path: str) -> Json:
        return self.request("DELETE", path)


class ControlPlane:
    """A running API server. `admin` may do everything."""

    def __init__(self, folder: Path, server: str, ca: Path, admin: Client, flags: Mapping[str, str]) -> None:
        self._flags = flags
        self._api_server: subprocess.Popen[bytes] | None = None
        self.folder = folder
        self.server = server
        self.ca = ca
        self.admin = admin

    def start_api_server(self) -> None:
        """Start it, again after `stop_api_server` with the same port and content; returns when it is ready."""
        self._api_server = _start(self.folder / "apiserver.log", self._flags, "kube-apiserver")
        _wait_until_ready(self, self._api_server)

    def stop_api_server(self) -> None:
        """As a power cut would."""
        if self._api_server is not None:
            self._api_server.send_signal(signal.SIGKILL)
            self._api_server.wait()

    def client_with_token(self, token: str) -> Client:
        return Client(self.server, urllib3.PoolManager(ca_certs=str(self.ca)), token)

    def kubeconfig(self, token: str | None = None) -> Path:
        """A kubeconfig file of `token`'s holder; of the administrator without."""
        user: Json = (
            {"token": token}
            if token
            else {
                "client-certificate": str(self.folder / "admin.crt"),
                "client-key": str(self.folder / "admin.key"),
            }
        )
        path = self.folder / f"kubeconfig-{len(list(self.folder.glob('kubeconfig-*')))}"
        cluster = {"server": self.server, "certificate-authority": str(self.ca)}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": "test", "user": user}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "current-context": "test",
                }
            )
        )
        return path

    def token(self, namespace: str, account: str, bound_to: Json | None = None) -> str:
        """A token of a service account, as kubelets ask for; `bound_to` is a pod or node reference."""
        body: Json = {"spec": {"audiences": ["https://wgmesh.test"], "expirationSeconds": 3600}}
        if bound_to is not None:
            body["spec"]["boundObjectRef"] = bound_to
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = self.admin.create(path, body)
        return str(answer["status"]["token"])


@contextlib.contextmanager
def control_plane(folder: Path, extra_flags: Mapping[str, str] | None = None) -> Iterator[ControlPlane]:
    """Start both in `folder`, end both afterwards."""
    api_port, etcd_port, peer_port = free_ports(3)
    _make_certificates(folder)
    server = f"https://127.0.0.1:{api_port}"
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    pool = urllib3.PoolManager(
        ca_certs=str(folder / "ca.crt"),
        cert_file=str(folder / "admin.crt"),
        key_file=str(folder / "admin.key"),
    )
    etcd = _start(
        folder / "etcd.log",
        {
            "data-dir": str(folder / "etcd"),
            "listen-client-urls": etcd_url,
            "advertise-client-urls": etcd_url,
            "listen-peer-urls": f"http://127.0.0.1:{peer_port}",
            "unsafe-no-fsync": "true",
            "log-level": "error",
        },
        "etcd",
    )
    flags = _api_server_flags(folder, api_port, etcd_url) | dict(extra_flags or {})
    plane = ControlPlane(folder, server, folder / "ca.crt", Client(server, pool), flags)
    try:
        plane.start_api_server()
        yield plane
    finally:
        plane.stop_api_server()
        etcd.kill()
        etcd.wait()


def _api_server_flags(folder: Path, port: int, etcd: str) -> dict[str, str]:
    return {
        "etcd-servers": etcd,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": str(port),
        "tls-cert-file": str(folder / "server.crt"),
        "tls-private-key-file": str(folder / "server.key"),
        "client-ca-file": str(folder / "ca.crt"),
        "authorization-mode": "Node,RBAC",
        "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": "https://wgmesh.test",
        "service-account-key-file": str(folder / "accounts.key"),
        "service-account-signing-key-file": str(folder / "accounts.key"),
        "allow-privileged": "true",
        "disable-admission-plugins": _DISABLED,
        "endpoint-reconciler-type": "none",
    }


def wait_for(condition: Any, what: str, seconds: float = 30.0) -> Any:
    """The first true value of `condition()`. Fails naming `what` if there is none in time.

    A key that an object does not have yet is waited for like anything else.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(KeyError):
            value = condition()
            if value:
                return value
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)


def _wait_until_ready(plane: ControlPlane, process: subprocess.Popen[bytes]) -> None:
    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended: {_tail(plane.folder)}")
        with contextlib.suppress(urllib3.exceptions.HTTPError, Refused):
            plane.admin.get("/readyz")
            return bool(plane.admin.get("/api/v1/namespaces/default"))
        return False

    wait_for(ready, "the API server is ready", _START_SECONDS)


def _tail(folder: Path) -> str:
    return "".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))


def _start(log: Path, flags: Mapping[str, str], program: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(PROGRAMS / program), *(f"--{name}={value}" for name, value in flags.items())],
            stdout=output,
            stderr=output,
        )


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback that are free, none of which the kernel gives to a connection before they are used."""
    found: set[int] = set()
    while len(found) < count:
        port = _CHANCE.randrange(*_NOT_EPHEMERAL)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            found.add(port)
    return sorted(found)


def _make_certificates(folder: Path) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("ca", None)
    ca = _builder(ca_name, ca_name, ca_key.public_key(), ca=True).sign(ca_key, hashes.SHA256())
    _write(folder, "ca", ca, ca_key)
    for file, name, purposes in (
        ("server", _name("kube-apiserver", None), ExtendedKeyUsageOID.SERVER_AUTH),
        ("admin", _name("admin", "system:masters"), ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, ca_name, key.public_key(), ca=False).add_extension(
            x509.ExtendedKeyUsage([purposes]), critical=False
        )
        if file == "server":
            names = x509.SubjectAlternativeName(
                [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
            )
            builder = builder.add_extension(names, critical=False)
        _write(folder, file, builder.sign(ca_key, hashes.SHA256()), key)
    accounts = rsa.generate_private_key(65537, 2048)
    (folder / "accounts.key").write_bytes(_key_pem(accounts))


def _name(common: str, organisation: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(folder: Path, name: str, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.crt").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(_key_pem(key))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
