"""Tags that every member sets about itself, and the claim decoded from another's. Reserved tags start with `_`."""

from __future__ import annotations

from collections.abc import Mapping

from wgmesh_agent.mesh.membership.claims import Claim
from wgmesh_agent.mesh.membership.secret_ids import decode_ids, encode_ids
from wgmesh_agent.wireguard.keys import InvalidKeyError, PublicKey
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.values import parse_address

PUBLIC_KEY = "_pk"
ENDPOINT_ADDRESS = "_addr"
ENDPOINT_PORT = "_port"
MESH_ADDRESS = "_i"
MESH_ADDRESS_2 = "_i2"
ROLE = "_t"
PROBE_PORT = "_p"
SECRETS = "_psk"
BOOTSTRAP, NODE = "b", "n"


class TagsError(Exception):
    """A member's tags contain no valid claim; one sentence."""


def is_reserved(key: str) -> bool:
    return key.startswith("_")


def own_tags(claim: Claim, user_tags: Mapping[str, str], *, probe_port: int | None = None) -> dict[str, str]:
    """The tags of this node: the reserved ones and the user's.

    Args:
        probe_port: UDP port on which this node listens for probes; peers of the original have none.
    """
    tags = {
        PUBLIC_KEY: str(claim.public_key),
        MESH_ADDRESS: str(claim.addresses[0]),
        ROLE: BOOTSTRAP if claim.bootstrap else NODE,
    }
    if claim.endpoints:
        tags[ENDPOINT_ADDRESS] = str(claim.endpoints[0].address)
        tags[ENDPOINT_PORT] = str(claim.endpoints[0].port)
    if len(claim.addresses) > 1:
        tags[MESH_ADDRESS_2] = str(claim.addresses[1])
    if claim.secret_ids:
        tags[SECRETS] = encode_ids(claim.secret_ids)
    if probe_port is not None:
        tags[PROBE_PORT] = str(probe_port)
    return {**user_tags, **tags}


def claim_from_tags(node: str, tags: Mapping[str, str]) -> Claim | None:
    """The claim of a member about itself; None while it has set no key yet, as at its very start.

    Raises:
        TagsError: a tag is malformed, or an address is not usable by other machines.
    """
    if PUBLIC_KEY not in tags:
        return None
    try:
        key = PublicKey.from_base64(tags[PUBLIC_KEY])
        addresses = tuple(parse_address(tags[tag]) for tag in (MESH_ADDRESS, MESH_ADDRESS_2) if tag in tags)
        endpoint = (
            (Endpoint.reported(tags[ENDPOINT_ADDRESS], tags[ENDPOINT_PORT]),)
            if ENDPOINT_ADDRESS in tags and ENDPOINT_PORT in tags
            else ()
        )
        secret_ids = decode_ids(tags.get(SECRETS, ""))
    except (InvalidKeyError, ValueError) as error:
        raise TagsError(f"malformed tags of {node}: {error}") from error
    if not addresses:
        raise TagsError(f"the tags of {node} contain no mesh address")
    return Claim(node, key, addresses, endpoint, tags.get(ROLE) == BOOTSTRAP, secret_ids=secret_ids)


class TagRejected(Exception):
    """A tag cannot be set; one sentence."""
