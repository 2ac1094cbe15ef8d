"""Who asks a bootstrap node, as TLS has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from wgmesh_api.identity import NodeIdentity


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the Mesh service.

    Attributes:
        holder: what tokens are bound to: the certificate's SHA-256, or without TLS its address (of IPv6: its /64).
        identity: the wgmesh identity in the certificate; None without TLS or with certificates of another kind.
        name: the identity as text, or the certificate's subject; kept with the binding. Empty without TLS, and for a
            certificate without a subject: an empty name is no identity, and never equals another.
        not_before: from when the certificate is valid; None without TLS.
        is_anonymous: whether it called without TLS, where the mesh authenticates no caller.
    """

    holder: str
    identity: NodeIdentity | None = None
    name: str = ""
    not_before: datetime | None = None
    is_anonymous: bool = False
