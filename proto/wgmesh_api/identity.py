"""Identity in a certificate: one URI among its subject alternative names.

`wgmesh://<mesh>/node/<name>` may join the mesh under that name; `wgmesh://<mesh>/bootstrap/<name>` may also admit
members. Certificates without such a URI (issued by other tools) have no identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from wgmesh_api.names import MESH_NAME, NODE_NAME

SCHEME = "wgmesh"
_URI = re.compile(rf"{SCHEME}://(?P<mesh>{MESH_NAME})/(?P<role>node|bootstrap)/(?P<node>{NODE_NAME})")


class IdentityError(ValueError):
    """A certificate contains a malformed wgmesh identity, or more than one."""


class Role(StrEnum):
    """Role of a certificate's holder."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """A name in a mesh; case-sensitive.

    `mesh` is 1–10 of `[A-Za-z0-9]`, `node` 1–64 of `[A-Za-z0-9._-]` with a letter or digit at both ends.
    Raises IdentityError for other names.
    """

    mesh: str
    node: str
    role: Role

    def __post_init__(self) -> None:
        if _URI.fullmatch(self.uri) is None:
            raise IdentityError(
                f"mesh {self.mesh!r} and node {self.node!r} are not names a certificate can carry"
            )

    @property
    def uri(self) -> str:
        """Returns the subject alternative name, `wgmesh://blue/node/alpha`."""
        return f"{SCHEME}://{self.mesh}/{self.role.value}/{self.node}"

    def __str__(self) -> str:
        return self.uri

    @classmethod
    def from_uri(cls, uri: str) -> NodeIdentity:
        """Parses an identity in the form of `uri`. Raises IdentityError."""
        match = _URI.fullmatch(uri)
        if match is None:
            raise IdentityError(f"{uri!r} is not an identity like wgmesh://mesh/node/name")
        return cls(mesh=match["mesh"], node=match["node"], role=Role(match["role"]))


def identity_of(cert: x509.Certificate) -> NodeIdentity | None:
    """Returns the identity in `cert`, None if there is none. The signature is not verified.

    Raises IdentityError if there are several, or one that is malformed.
    """
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise IdentityError(f"the certificate's extensions cannot be read: {error}") from error
    ours = [uri for uri in uris if uri.lower().startswith(f"{SCHEME}:")]
    if not ours:
        return None
    if len(ours) > 1:
        raise IdentityError(
            f"the certificate contains {len(ours)} identities instead of one: {', '.join(ours)}"
        )
    return NodeIdentity.from_uri(ours[0])
