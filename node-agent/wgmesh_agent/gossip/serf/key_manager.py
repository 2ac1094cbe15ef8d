"""Key rotation in the whole cluster: queries that change every member's keyring (gossip-wire §8.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from wgmesh_agent.gossip.errors import KeyringError, PeerError
from wgmesh_agent.gossip.wire.keyring import Keyring
from wgmesh_agent.gossip.wire.serf_messages import KeyRequest, KeyResponse, decode_serf, encode_serf


class KeyOperation(Enum):
    """Operation on a key; the value is the query's name."""

    INSTALL = "_serf_install-key"
    USE = "_serf_use-key"
    REMOVE = "_serf_remove-key"
    LIST = "_serf_list-keys"


@dataclass(frozen=True, slots=True)
class KeyResult:
    """Result of a key operation.

    `asked` members were alive when it began; `answered` responded, `silent` did not; `errors` has their rejections
    by name. `keys` counts the members that have each key (base64), `primary_keys` those where it is primary: a list
    fills both, and `rings` with the keys by name, the primary first.
    """

    asked: int
    answered: int
    silent: frozenset[str]
    errors: dict[str, str]
    keys: dict[str, int]
    primary_keys: dict[str, int]
    rings: dict[str, tuple[str, ...]]

    @property
    def ok(self) -> bool:
        """All members responded and none rejected."""
        return not self.errors and not self.silent


def answer_key_query(
    operation: KeyOperation,
    payload: bytes,
    keyring: Keyring | None,
    fits: Callable[[bytes], bool],
    changed: Callable[[], None],
) -> bytes:
    """Performs an operation on this node's keyring; returns the encoded answer. A list is truncated until it `fits`."""
    if keyring is None:
        return encode_serf(KeyResponse(False, "no keyring to modify (encryption not enabled)"))
    try:
        if operation is KeyOperation.LIST:
            return _listed(keyring, fits)
        request = decode_serf(payload)
        if not isinstance(request, KeyRequest):
            raise PeerError("the query holds no key request")
        before = keyring.keys
        if operation is KeyOperation.INSTALL:
            keyring.install(request.key)
        elif operation is KeyOperation.USE:
            keyring.use(request.key)
        else:
            keyring.remove(request.key)
        if keyring.keys != before:
            changed()
    except (KeyringError, PeerError) as error:
        return encode_serf(KeyResponse(False, str(error)))
    return encode_serf(KeyResponse(True))


def collect(expected: frozenset[str], responses: Mapping[str, bytes]) -> KeyResult:
    """Combines the answers by node; `expected` are the members that were queried."""
    errors: dict[str, str] = {}
    rings: dict[str, tuple[str, ...]] = {}
    primaries: Counter[str] = Counter()
    for node, payload in responses.items():
        try:
            response = decode_serf(payload)
            if not isinstance(response, KeyResponse):
                raise PeerError("the answer is no key response")
        except PeerError as error:
            errors[node] = str(error)
            continue
        if not response.result:
            errors[node] = response.message or "refused without a reason"
        if response.keys:
            rings[node] = tuple(response.keys)
        if response.primary_key:
            primaries[response.primary_key] += 1
            rings[node] = tuple(dict.fromkeys((response.primary_key, *response.keys)))
    keys = Counter(key for ring in rings.values() for key in dict.fromkeys(ring))
    return KeyResult(
        len(expected), len(responses), expected - responses.keys(), errors, dict(keys), dict(primaries), rings
    )


def _listed(keyring: Keyring, fits: Callable[[bytes], bool]) -> bytes:
    keys = keyring.list()
    primary = keys[0]
    for count in range(len(keys), -1, -1):
        message = "" if count == len(keys) else f"truncated: the first {count} of {len(keys)} keys"
        answer = encode_serf(KeyResponse(True, message, keys[:count], primary))
        if fits(answer):
            return answer
    return encode_serf(KeyResponse(False, "the key list does not fit in an answer"))
