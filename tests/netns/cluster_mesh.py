"""A mesh with certificates as issued by the operator, and external machines that join it with join bundles."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from tests.unit.mesh.join.bundle_fixtures import bundle_bytes, changed

from wgmesh_agent.lab.agent import Agent
from wgmesh_agent.lab.mesh import LIFETIME, Mesh
from wgmesh_api.certificates import generate_key, key_to_pem
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import bootstrap_dns_name
from wgmesh_operator.decisions.entropy import Entropy
from wgmesh_operator.decisions.trust.signing_requests import Approval, sign


class ClusterMesh(Mesh):
    """Its nodes' certificates are signed by the operator's own code."""

    def certificate(self, node: str, role: Role) -> tuple[Path, Path, Path]:
        key_file, certificate_file = self._certificates / f"{node}.key", self._certificates / f"{node}.pem"
        if not key_file.exists():
            key, now = generate_key(), datetime.now(UTC)
            grant = Approval(
                identity=NodeIdentity(self.name, node, role),
                public_key=key.public_key(),
                addresses=tuple(
                    ip_address(self.network.address(node, subnet.version)) for subnet in self.network.subnets
                ),
                dns_names=(bootstrap_dns_name(self.name),) if role is Role.BOOTSTRAP else (),
                not_before=now,
                lifetime=LIFETIME,
            )
            serial = len(list(self._certificates.iterdir())) + 1
            entropy = Entropy(generate_key, lambda: serial, bytes)
            certificate_file.write_bytes(sign(grant, self.authority, now, entropy))
            key_file.touch(mode=0o600)
            key_file.write_bytes(key_to_pem(key))
        return key_file, certificate_file, self._certificates / "ca.pem"

    def bundle(self, node: str, *bootstraps: str) -> bytes:
        """The join bundle of `node`, which names these bootstrap nodes."""
        where = [self.service_address(name) for name in bootstraps or ("n1",)]
        made = bundle_bytes(
            self.authority, mesh=self.name, node=node, bootstraps=where, now=datetime.now(UTC)
        )
        # Here it is the bootstrap node that gives addresses, not a roster.
        return changed(made, addresses=None)

    def enter(self, host: str, bundle: Path, *more: str, node: str | None = None) -> Agent:
        """Starts an agent with a bundle on a host; does not wait."""
        agent = Agent(
            self.network.hosts[host],
            ["join", "-v", "--bundle", str(bundle), "--backend", self.backend, *more],
            socket=self.socket,
        )
        self.agents[node or host] = agent
        agent.start()
        return agent
