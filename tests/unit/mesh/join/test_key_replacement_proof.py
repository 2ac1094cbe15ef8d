from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgmesh_agent.mesh.join.key_replacement_proof import make_proof, verify_proof
from wgmesh_agent.wireguard.keys import PrivateKey, PublicKey

MEMBER, BOOTSTRAP, NEW, STRANGER = (PrivateKey(bytes([8, *[number] * 30, 64])) for number in (1, 2, 3, 4))
NEW_PUBLIC = NEW.public()


@dataclass(frozen=True)
class Asked:
    mesh: str = "blue"
    node: str = "alpha"
    new: PublicKey = NEW_PUBLIC
    authorization: str = "Bearer: a.b.c"

    def proof(self, own: PrivateKey = MEMBER, other: PublicKey | None = None) -> bytes:
        return make_proof(
            own,
            other or BOOTSTRAP.public(),
            self.new,
            mesh=self.mesh,
            node=self.node,
            authorization=self.authorization,
        )

    def holds(self, given: bytes, member: PublicKey | None = None) -> bool:
        return verify_proof(
            given,
            BOOTSTRAP,
            member or MEMBER.public(),
            self.new,
            mesh=self.mesh,
            node=self.node,
            authorization=self.authorization,
        )


def test_the_members_proof_is_what_the_bootstrap_node_computes() -> None:
    assert Asked().holds(Asked().proof())
    assert len(Asked().proof()) == 32


@pytest.mark.parametrize(
    "other",
    [
        replace(Asked(), mesh="green"),
        replace(Asked(), node="beta"),
        replace(Asked(), new=STRANGER.public()),
        replace(Asked(), authorization="Bearer: d.e.f"),
        replace(Asked(), mesh="blueal", node="pha"),
    ],
    ids=["mesh", "node", "key", "token", "borders"],
)
def test_it_is_good_for_exactly_what_was_asked(other: Asked) -> None:
    assert not other.holds(Asked().proof())


def test_only_who_has_the_earlier_key_can_make_it() -> None:
    assert not Asked().holds(Asked().proof(STRANGER))


def test_one_for_another_bootstrap_node_is_none() -> None:
    assert not Asked().holds(Asked().proof(other=STRANGER.public()))


@pytest.mark.parametrize("raw", [bytes(32), bytes([1, *[0] * 31])])
def test_a_key_that_nobody_has_proves_nothing(raw: bytes) -> None:
    assert not Asked().holds(b"", PublicKey(raw))


@given(st.binary(max_size=40), st.binary(min_size=32, max_size=32))
def test_any_bytes_are_no_proof(given_bytes: bytes, raw: bytes) -> None:
    assert not Asked().holds(given_bytes, PublicKey(raw))


def test_members_of_other_releases_make_the_same_proof() -> None:
    assert Asked().proof().hex() == "0f1fd95c61c2b83692bca17e5efb0285d85d2d829ca60efe127b800bf85d0b13"
