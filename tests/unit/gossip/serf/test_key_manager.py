"""The queries that change the key ring (gossip-wire section 8.5)."""

from __future__ import annotations

from wgmesh_agent.gossip.serf.key_manager import KeyOperation, answer_key_query, collect
from wgmesh_agent.gossip.wire.keyring import Keyring, encode_key
from wgmesh_agent.gossip.wire.serf_messages import (
    JoinIntent,
    KeyRequest,
    KeyResponse,
    decode_serf,
    encode_serf,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


class TestKeys:
    def test_the_ring_is_changed_step_by_step_and_says_so(self) -> None:
        ring, changes = Keyring(OLD), 0

        def do(operation: KeyOperation, key: bytes) -> KeyResponse:
            nonlocal changes

            def changed() -> None:
                nonlocal changes
                changes += 1

            payload = encode_serf(KeyRequest(key))
            response = decode_serf(answer_key_query(operation, payload, ring, lambda _: True, changed))
            assert isinstance(response, KeyResponse)
            return response

        assert not do(KeyOperation.USE, NEW).result
        assert do(KeyOperation.INSTALL, NEW).result
        assert do(KeyOperation.INSTALL, NEW).result
        assert not do(KeyOperation.REMOVE, OLD).result
        assert do(KeyOperation.USE, NEW).result
        assert do(KeyOperation.REMOVE, OLD).result
        assert not do(KeyOperation.INSTALL, b"short").result
        assert ring.keys == (NEW,)
        assert changes == 3
        assert do(KeyOperation.LIST, b"").keys == (encode_key(NEW),)

    def test_without_encryption_there_is_no_ring_to_change(self) -> None:
        answer = answer_key_query(KeyOperation.LIST, b"", None, lambda _: True, lambda: None)
        response = decode_serf(answer)
        assert isinstance(response, KeyResponse)
        assert not response.result

    def test_a_request_that_is_none_is_refused(self) -> None:
        for payload in (b"", b"\x07\xc1", encode_serf(JoinIntent(1, "x"))):
            answer = answer_key_query(
                KeyOperation.INSTALL, payload, Keyring(OLD), lambda _: True, lambda: None
            )
            response = decode_serf(answer)
            assert isinstance(response, KeyResponse)
            assert not response.result

    def test_a_long_list_is_shortened_to_fit_an_answer(self) -> None:
        ring = Keyring(OLD, [bytes([index]) * 32 for index in range(60)])
        answer = answer_key_query(
            KeyOperation.LIST, b"", ring, lambda payload: len(payload) <= 900, lambda: None
        )
        response = decode_serf(answer)
        assert isinstance(response, KeyResponse)
        assert response.result
        assert len(answer) <= 900 < len(answer) + 46
        assert response.primary_key == encode_key(OLD) == response.keys[0]
        assert "of 61" in response.message

    def test_answers_are_summed_up_with_refusals_by_name(self) -> None:
        result = collect(
            frozenset("abcde"),
            {
                "a": encode_serf(KeyResponse(True, "", ("k1", "k2"), "k1")),
                "b": encode_serf(KeyResponse(True, "", ("k1",), "k1")),
                "c": encode_serf(KeyResponse(False, "no such key")),
                "d": b"garbage",
            },
        )
        assert (result.asked, result.answered, result.silent, result.ok) == (5, 4, frozenset("e"), False)
        assert result.rings == {"a": ("k1", "k2"), "b": ("k1",)}
        assert (result.keys, result.primary_keys) == ({"k1": 2, "k2": 1}, {"k1": 2})
        assert result.errors["c"] == "no such key"
        assert set(result.errors) == {"c", "d"}
