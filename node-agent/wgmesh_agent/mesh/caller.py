"""Caller of the Mesh service, as identified by TLS."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wgmesh_api.identity import NodeIdentity


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the Mesh service.

    Attributes:
        holder: what tokens are bound to: the SHA-256 of the certificate, or without TLS its address (IPv6: its /64).
        identity: the wgmesh identity in the certificate; None without TLS, or with certificates of another kind.
        name: the identity as text, or the certificate's subject; stored with the binding. Empty without TLS, and for a
            certificate without a subject: an empty name is not an identity and never equals another.
        not_before: start of the certificate's validity; None without TLS.
        is_anonymous: whether it called without TLS; then the mesh authenticates no caller.
    """

    holder: str
    identity: NodeIdentity | None = None
    name: str = ""
    not_before: datetime | None = None
    is_anonymous: bool = False
