"""Certificate requests that an API server accepts and cryptography reads only in part: DER written by hand."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _NULL, _OID, _UTF8 = 0x30, 0x31, 2, 3, 4, 5, 6, 0x0C
_COMMON_NAME = bytes.fromhex("550403")
_EXTENSION_REQUEST = bytes.fromhex("2a864886f70d01090e")
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_ECDSA_SHA256 = bytes.fromhex("2a8648ce3d040302")


def tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, length and value (X.690, 8.1)."""
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + body


def subject(value: bytes) -> bytes:
    """A name of one attribute, the common name, with `value` in DER."""
    return tlv(_SEQUENCE, tlv(_SET, tlv(_SEQUENCE, tlv(_OID, _COMMON_NAME), value)))


def alternative_names(*names: bytes, times: int = 1) -> bytes:
    """The attribute that asks for `names`; `times`: how many extensions carry them."""
    extension = tlv(_SEQUENCE, tlv(_OID, _ALTERNATIVE_NAMES), tlv(_OCTETS, tlv(_SEQUENCE, *names)))
    extensions = tlv(_SET, tlv(_SEQUENCE, *[extension] * times))
    return tlv(_SEQUENCE, tlv(_OID, _EXTENSION_REQUEST), extensions)


def request(subject: bytes, attributes: bytes = b"") -> bytes:
    """A signed PKCS#10 request in PEM (RFC 2986)."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    info = tlv(_SEQUENCE, tlv(_INTEGER, b"\0"), subject, public, tlv(0xA0, attributes))
    signature = key.sign(info, ec.ECDSA(hashes.SHA256()))
    algorithm = tlv(_SEQUENCE, tlv(_OID, _ECDSA_SHA256))
    der = tlv(_SEQUENCE, info, algorithm, tlv(_BITS, b"\0" + signature))
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + text + b"-----END CERTIFICATE REQUEST-----\n"


def odd_requests(node: str) -> dict[str, bytes]:
    """What each is, and the request; all but the name or the extension are those of `node`."""
    named = subject(tlv(_UTF8, node.encode()))
    x400 = tlv(0xA3, tlv(_SEQUENCE))
    email = tlv(0x81, b"a@example.org")
    return {
        "an X.400 name": request(named, alternative_names(x400)),
        "an EDI party name": request(named, alternative_names(tlv(0xA5, tlv(0x81, b"x")))),
        "two lists of names": request(named, alternative_names(email, times=2)),
        "an address of 5 bytes": request(named, alternative_names(tlv(0x87, b"\1\2\3\4\5"))),
        "a NULL in the subject": request(subject(tlv(_NULL))),
        "an INTEGER in the subject": request(subject(tlv(_INTEGER, b"\7"))),
        "text that is not UTF-8": request(subject(tlv(_UTF8, b"\xff\xfe"))),
        "an empty subject": request(tlv(_SEQUENCE)),
        "a megabyte of names": request(named, alternative_names(*[tlv(0x82, b"x" * 200)] * 5000)),
    }
