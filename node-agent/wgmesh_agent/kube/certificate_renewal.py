"""Certificate renewal: requests this member's next certificate before expiry, and when its content must change."""

from __future__ import annotations

import asyncio

import structlog

from wgmesh_agent.kube.api_client import ApiError, KubernetesApi
from wgmesh_agent.kube.certificate import (
    CertificateSpec,
    CertificateStore,
    RequestDenied,
    UnusableCertificate,
    is_current,
    now,
    request_certificate,
)
from wgmesh_agent.kube.roster_cache import RosterCache
from wgmesh_agent.mesh.credentials import Credentials
from wgmesh_api.identity import NodeIdentity, Role
from wgmesh_api.roster import RosterNode

log = structlog.get_logger()
RESYNC_SECONDS = 5.0
RETRY_SECONDS = 10.0
MIN_LIFETIME_SECONDS = 600


class CertificateRenewer:
    """Renewal for an agent; `run` runs beside each session."""

    def __init__(
        self, api: KubernetesApi, view: RosterCache, identity: CertificateStore, credentials: Credentials
    ) -> None:
        self._api = api
        self._view = view
        self._identity = identity
        self._credentials = credentials
        self._unusable = b""

    async def run(self) -> None:
        """Renews when due, until cancelled."""
        while True:
            generation = self._view.changes.generation
            try:
                await self.reconcile()
            except (ApiError, RequestDenied, OSError, ValueError) as error:
                log.warning("certificate not renewed", error=str(error), retry_seconds=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            await self._view.changes.wait_after(generation, RESYNC_SECONDS)

    async def reconcile(self) -> None:
        """Adopts new CAs at once. Requests a certificate when two thirds of the old one's lifetime are over, its
        content is outdated, or another CA signs now.

        Raises:
            ApiError, RequestDenied, OSError, ValueError: it could not be obtained, or not be stored.
        """
        own, mesh = self._view.own, self._view.mesh
        if own is None or mesh is None or own.deleting or not mesh.trust_bundle:
            return
        uid = self._identity.uid()
        if uid and own.uid != uid:
            # That member is another one: this node leaves first.
            return
        authorities = mesh.trust_bundle.encode()
        files = self._credentials.files
        if files.authorities != authorities:
            authorities = await self._take_over(authorities)
        if not self.is_current(own):
            wanted = certificate_spec(own, self._view)
            self._credentials.files = await request_certificate(
                self._api, self._identity, wanted, authorities
            )
            until = self._credentials.files.leaf().not_valid_after_utc
            log.info("certificate renewed", until=until.isoformat())
            self._view.changes.notify()

    async def _take_over(self, authorities: bytes) -> bytes:
        """Sets the CAs from now on: those that can be parsed. Raises OSError."""
        files = self._credentials.files
        try:
            self._credentials.files = await asyncio.to_thread(
                self._identity.save, files.certificate, authorities
            )
        except UnusableCertificate as error:
            if authorities != self._unusable:
                self._unusable = authorities
                log.error("cannot adopt the CA certificates", error=str(error), next="keeping those in use")
            return files.authorities
        log.info("CA certificates renewed")
        return authorities

    def is_current(self, own: RosterNode) -> bool:
        """Whether the certificate in use has the required content, and is valid for a while."""
        return is_current(self._credentials.files, certificate_spec(own, self._view), own.created, now())


def certificate_spec(own: RosterNode, view: RosterCache) -> CertificateSpec:
    """The required content of this node's certificate now."""
    role = Role.BOOTSTRAP if own.bootstrap else Role.NODE
    seconds = int(view.mesh.certificate_lifetime_seconds) if view.mesh is not None else 0
    return CertificateSpec(
        NodeIdentity(own.mesh, own.node, role), own.addresses, max(MIN_LIFETIME_SECONDS, seconds), own.uid
    )
