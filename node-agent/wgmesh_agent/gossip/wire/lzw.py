"""LZW as in Go's compress/lzw: LSB first, literals of 8 bits, codes of 9 to 12 (gossip-wire section 2.3).

The encoder starts with a clear code, as current Go does; the decoder accepts streams with and without one. Both are
optimised for the interpreter, because each push-pull of a Go peer is decoded here: bits are moved in blocks of 24
bytes, and the encoder keeps codes shifted by eight so that a table key is one `or` away.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from wgmesh_agent.gossip.errors import DecodeError, LimitError

_CLEAR: Final = 256
_EOF: Final = 257
_FIRST_FREE: Final = 258
_START_WIDTH: Final = 9
_MAX_WIDTH: Final = 12
_TABLE_FULL: Final = 2**_MAX_WIDTH
_LAST_CODE: Final = _TABLE_FULL - 1
_BLOCK_BYTES: Final = 24
_BLOCK_BITS: Final = 8 * _BLOCK_BYTES
_STEP_BYTES: Final = 1024 * _BLOCK_BYTES
_BLOCK_MASK: Final = 2**_BLOCK_BITS - 1
_ROOTS: Final = [*(bytes((literal,)) for literal in range(256)), b"", b""]
"""Expansions of the codes below _FIRST_FREE; the empty ones mark clear and EOF."""


def compress(data: bytes) -> bytes:
    """Encodes `data` as Go's encoder does, byte for byte."""
    out = bytearray()
    bits, bit_count = _CLEAR, _START_WIDTH
    width, highest, overflow = _START_WIDTH, _EOF, 2**_START_WIDTH
    if data:
        table: dict[int, int] = {}
        find = table.get
        literals = iter(data)
        prefix = next(literals) << 8
        for literal in literals:
            longer = find(prefix | literal)
            if longer is not None:
                prefix = longer
                continue
            bits |= prefix >> 8 << bit_count
            bit_count += width
            if bit_count >= _BLOCK_BITS:
                out += (bits & _BLOCK_MASK).to_bytes(_BLOCK_BYTES, "little")
                bits >>= _BLOCK_BITS
                bit_count -= _BLOCK_BITS
            highest += 1
            if highest == overflow:
                width += 1
                overflow <<= 1
            if highest == _LAST_CODE:
                bits |= _CLEAR << bit_count
                bit_count += width
                width, highest, overflow = _START_WIDTH, _EOF, 2**_START_WIDTH
                table.clear()
            else:
                table[prefix | literal] = highest << 8
            prefix = literal << 8
        bits |= prefix >> 8 << bit_count
        bit_count += width
        # The last code changes the width like any other, and may fill the table, before EOF is written.
        highest += 1
        if highest == overflow:
            width += 1
        if highest == _LAST_CODE:
            bits |= _CLEAR << bit_count
            bit_count += width
            width = _START_WIDTH
    bits |= _EOF << bit_count
    bit_count += width
    out += bits.to_bytes((bit_count + 7) // 8, "little")
    return bytes(out)


def decompress(data: bytes, max_bytes: int) -> bytes:
    """Decodes `data` at once. Raises like `expanding`."""
    steps = expanding(data, max_bytes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            expanded: bytes = end.value
            return expanded


def expanding(data: bytes, max_bytes: int) -> Generator[None, None, bytes]:
    """Decodes `data` in steps of some milliseconds; bytes after its EOF code are ignored.

    Raises DecodeError for an invalid code and for a missing EOF, LimitError above `max_bytes` of output (detected
    within 100 kB). Time is bounded by the codes in `data` and by `max_bytes`.
    """
    out = bytearray()
    table, known, previous = _ROOTS[:], _FIRST_FREE, b""
    width, mask, overflow = _START_WIDTH, 2**_START_WIDTH - 1, 2**_START_WIDTH
    bits = bit_count = position = 0
    while True:
        if bit_count < width:
            if len(out) > max_bytes:
                raise LimitError(f"more than {max_bytes} bytes once decompressed")
            block = data[position : position + _BLOCK_BYTES]
            bits |= int.from_bytes(block, "little") << bit_count
            bit_count += 8 * len(block)
            position += _BLOCK_BYTES
            if not position % _STEP_BYTES:
                yield
            if bit_count < width:
                raise DecodeError("compressed data without an end code")
        code = bits & mask
        bits >>= width
        bit_count -= width
        if code < known:
            expansion = table[code]
            if not expansion:
                if code == _EOF:
                    break
                if known > _FIRST_FREE:
                    table, known = _ROOTS[:], _FIRST_FREE
                previous = b""
                width, mask, overflow = _START_WIDTH, 2**_START_WIDTH - 1, 2**_START_WIDTH
                continue
        elif code == known and previous and known < _TABLE_FULL:
            expansion = previous + previous[:1]
        else:
            raise DecodeError(f"compressed data with code {code} where {known} is the next")
        out += expansion
        if previous and known < _TABLE_FULL:
            table.append(previous + expansion[:1])
            known += 1
            if known == overflow and width < _MAX_WIDTH:
                width += 1
                mask = 2**width - 1
                overflow <<= 1
        previous = expansion
    if len(out) > max_bytes:
        raise LimitError(f"more than {max_bytes} bytes once decompressed")
    return bytes(out)
