"""The two roots of what can go wrong in gossip: we misused it, or a peer misbehaved."""


class GossipError(Exception):
    """This program asked for something the protocol cannot carry; the fault is ours."""


class KeyringError(GossipError):
    """A key operation was refused. Its text is fit for a serf key response, and never holds key bytes."""


class QueryOverError(GossipError):
    """A query is not open: its time was up before the answer was there, as on a busy machine, or it was answered."""


class PeerError(Exception):
    """A peer's bytes or behaviour are wrong. Any input of a decoder ends in a value or in this."""


class DecodeError(PeerError):
    """Bytes that are not what their place in the protocol demands."""


class LimitError(PeerError):
    """Bytes that ask for more memory, depth or time than we grant a peer."""


class DecryptError(PeerError):
    """No key on the ring opens these bytes, or they lack the encryption that the keyring demands."""


class LabelError(PeerError):
    """The label is missing, empty, unwanted or another cluster's."""
