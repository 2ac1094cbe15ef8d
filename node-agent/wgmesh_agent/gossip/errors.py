"""Errors of gossip: misuse by this program, or misbehaviour of a peer."""


class GossipError(Exception):
    """This program requested something that the protocol cannot express."""


class KeyringError(GossipError):
    """A key operation was rejected. Its text is suitable for a serf key response, and never contains key bytes."""


class QueryOverError(GossipError):
    """A query is not open: it timed out before the answer was ready, as on an overloaded machine, or it was
    answered."""


class PeerError(Exception):
    """A peer's bytes or behaviour are invalid. A decoder returns a value or raises this, for any input."""


class DecodeError(PeerError):
    """Bytes that are invalid at their place in the protocol."""


class LimitError(PeerError):
    """Bytes that require more memory, depth or time than a peer is granted."""


class DecryptError(PeerError):
    """No key in the keyring decrypts these bytes, or they lack the encryption that the keyring requires."""


class LabelError(PeerError):
    """The label is missing, empty, unexpected or another cluster's."""
