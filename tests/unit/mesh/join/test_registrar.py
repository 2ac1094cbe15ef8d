"""Admission end to end below gRPC: admitted names and addresses, and denials with their reasons."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network, ip_address, ip_network

import pytest
from tests.unit.local import LocalClaim
from tests.unit.mesh.join.registrar_harness import ANYONE, OWN_KEY, FakeMesh, admit, certified, key, request

from wgmesh_agent.mesh.caller import Caller
from wgmesh_agent.mesh.join.address_allocator import AddressAllocator
from wgmesh_agent.mesh.join.decision import DenialReason, Denied
from wgmesh_agent.mesh.join.registrar import MAX_PROMISES_AN_ASKER, RESERVATION_SECONDS, Registrar
from wgmesh_agent.mesh.membership.admission_record import MAX_ROUTES
from wgmesh_agent.mesh.membership.claims import Binding, Claim, Origin
from wgmesh_agent.mesh.membership.ledger import Ledger
from wgmesh_agent.wireguard.model import Endpoint
from wgmesh_api.meshservice_pb2 import JoinRequest


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(LocalClaim("boot", OWN_KEY, (ip_address("10.232.1.1"),), (IPv4Network("10.232.0.0/16"),)))


@pytest.fixture
def registrar(ledger: Ledger, mesh: FakeMesh) -> Registrar:
    return Registrar("blue", ledger, AddressAllocator([ip_network("10.232.0.0/16")]), mesh)


async def denial(registrar: Registrar, asked: JoinRequest, caller: Caller = ANYONE) -> Denied:
    with pytest.raises(Denied) as caught:
        await admit(registrar, asked, caller)
    return caught.value


async def test_a_joiner_gets_an_address_a_name_and_is_announced(registrar: Registrar, mesh: FakeMesh) -> None:
    binding = await admit(registrar, request(1))
    assert binding.claim.addresses == (ip_address("10.232.0.1"),)
    assert binding.claim.node == "blueAE80001"
    assert binding.claim.endpoints == (Endpoint(ip_address("192.0.2.1"), 54540),)
    assert mesh.announced == [(binding, None)]


async def test_a_hundred_joins_at_once_get_a_hundred_addresses(registrar: Registrar) -> None:
    bindings = await asyncio.gather(*(admit(registrar, request(n)) for n in range(1, 101)))
    assert len({binding.claim.addresses for binding in bindings}) == 100
    assert len({binding.claim.node for binding in bindings}) == 100


async def test_the_same_key_keeps_its_address_when_it_joins_again(registrar: Registrar) -> None:
    first = await admit(registrar, request(1, "alpha"))
    again = await admit(registrar, request(1, "alpha", endpointIP="192.0.2.77"))
    assert again.claim.addresses == first.claim.addresses
    assert again.claim.endpoints[0].address == ip_address("192.0.2.77")
    nameless = await admit(registrar, request(1))
    assert nameless.claim.node == "alpha"


async def test_a_name_of_two_joins_at_once_goes_to_one(registrar: Registrar) -> None:
    results = await asyncio.gather(
        *(admit(registrar, request(n, "alpha")) for n in range(1, 9)), return_exceptions=True
    )
    assert sum(isinstance(result, Binding) for result in results) == 1
    assert all(isinstance(r, Binding) or (isinstance(r, Denied) and "alpha" in str(r)) for r in results)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meshName": "green"}, DenialReason.WRONG_MESH),
        ({"pubkey": "nonsense"}, DenialReason.BAD_KEY),
        ({"pubkey": ""}, DenialReason.BAD_KEY),
        ({"endpointIP": "not an address"}, DenialReason.BAD_ENDPOINT),
        ({"endpointIP": "10.232.7.7"}, DenialReason.BAD_ENDPOINT),
        ({"endpointIP": "127.0.0.1"}, DenialReason.BAD_ENDPOINT),
        ({"endpointPort": 0}, DenialReason.BAD_ENDPOINT),
        ({"endpointPort": 65536}, DenialReason.BAD_ENDPOINT),
        ({"endpointPort": -1}, DenialReason.BAD_ENDPOINT),
        ({"nodeName": "a/b"}, DenialReason.BAD_NAME),
        ({"nodeName": "x" * 65}, DenialReason.BAD_NAME),
        ({"nodeName": "boot"}, DenialReason.NAME_IN_USE),
        ({"pubkey": str(OWN_KEY)}, DenialReason.KEY_IN_USE),
    ],
)
async def test_a_wrong_request_is_denied_with_its_own_reason(
    registrar: Registrar, ledger: Ledger, change: dict[str, object], reason: DenialReason
) -> None:
    denied = await denial(registrar, request(1, **change))  # type: ignore[arg-type]
    assert denied.reason is reason
    assert len(ledger) == 0


async def test_a_key_held_under_another_name_is_denied(registrar: Registrar) -> None:
    await admit(registrar, request(1, "alpha"))
    denied = await denial(registrar, request(1, "beta"))
    assert denied.reason is DenialReason.KEY_IN_USE
    assert "alpha" in str(denied)


async def test_a_name_in_use_is_denied_while_its_holder_lives(registrar: Registrar, mesh: FakeMesh) -> None:
    await admit(registrar, request(1, "alpha"))
    mesh.alive.add("alpha")
    assert (await denial(registrar, request(2, "alpha"))).reason is DenialReason.NAME_IN_USE


async def test_a_failed_nodes_name_goes_only_to_the_same_identity(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    await admit(registrar, request(1, "alpha"), Caller("h1", None, "CN=alpha"), now=-60.0)
    other = Caller("h2", None, "CN=mallory")
    assert (await denial(registrar, request(2, "alpha"), other)).reason is DenialReason.NAME_IN_USE
    same = Caller("h3", None, "CN=alpha")
    mesh.alive.add("alpha")
    assert (await denial(registrar, request(2, "alpha"), same)).reason is DenialReason.NAME_IN_USE
    mesh.alive.clear()
    replaced = await admit(registrar, request(2, "alpha"), same)
    assert replaced.claim.public_key == key(2)


async def test_a_repeated_public_key_admits_no_other_identity(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "gate"), Caller("h1", None, "CN=gate"))
    mesh.alive.add("gate")
    for other in (Caller("h2", None, "CN=mallory"), Caller("h3", None, ""), certified("mallory")):
        asked = request(1, "" if other.identity else "gate", endpointIP="198.51.100.66")
        assert (await denial(registrar, asked, other)).reason is DenialReason.KEY_IN_USE
    assert ledger.by_name("gate") == first
    again = await admit(registrar, request(1, "gate", endpointIP="192.0.2.9"), Caller("h4", None, "CN=gate"))
    assert again.claim.endpoints[0].address == ip_address("192.0.2.9")


async def test_possession_of_a_bound_key_is_proof_enough(registrar: Registrar, ledger: Ledger) -> None:
    elsewhere = Claim("gate", key(1), (ip_address("10.232.0.7"),), ())
    assert ledger.accept(elsewhere, Origin.RECORD, 1.0) is None
    caller = Caller("h1", None, "CN=gate")
    assert (await denial(registrar, request(1, "gate"), caller)).reason is DenialReason.KEY_IN_USE
    proven = await registrar.admit(request(1, "gate"), caller, now=0.0, now_unix=1000.0, proven=key(1))
    assert proven.claim.addresses == elsewhere.addresses
    assert (await admit(registrar, request(1, "gate"), caller)).identity == "CN=gate"


async def test_a_nameless_binding_is_not_taken_by_a_certificate(registrar: Registrar, ledger: Ledger) -> None:
    assert ledger.accept(Claim("", key(1), (ip_address("10.232.0.7"),), ()), Origin.ANNOUNCED, 1.0) is None
    denied = await denial(registrar, request(1), certified("mallory"))
    assert denied.reason is DenialReason.KEY_IN_USE


async def test_certificates_without_a_subject_share_no_identity(registrar: Registrar, ledger: Ledger) -> None:
    await admit(registrar, request(1, "db"), Caller("h1", None, ""), now=-9000.0)
    denied = await denial(registrar, request(2, "db"), Caller("h2", None, ""))
    assert denied.reason is DenialReason.NAME_IN_USE


async def test_a_certificate_for_the_node_replaces_a_lost_key_and_keeps_the_address(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive.add("alpha")
    second = await admit(registrar, request(2), certified("alpha"))
    assert second.claim.node == "alpha"
    assert second.claim.addresses == first.claim.addresses
    assert ledger.by_key(key(1)) is None
    assert mesh.announced[-1] == (second, first)


async def test_a_second_machine_with_the_same_certificate_is_refused_while_the_first_answers(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive.add("alpha")
    mesh.answering.add(key(1))
    for _ in range(3):
        denied = await denial(registrar, request(2), certified("alpha"))
        assert denied.reason is DenialReason.NAME_IN_USE
        assert "alpha is alive on another machine" in str(denied)
    assert ledger.by_name("alpha") == first
    mesh.answering.clear()
    assert (await admit(registrar, request(2), certified("alpha"))).claim.public_key == key(2)


async def test_who_is_known_to_be_gone_is_not_asked(registrar: Registrar, mesh: FakeMesh) -> None:
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.answering.add(key(1))
    assert (await admit(registrar, request(2), certified("alpha"))).claim.public_key == key(2)
    assert mesh.questions == []


async def test_the_same_machine_coming_again_is_not_asked_whether_it_lives(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive.add("alpha")
    mesh.answering.add(key(1))
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    assert mesh.questions == []


async def test_of_two_machines_that_come_for_a_silent_one_s_name_the_first_gets_it(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive.add("alpha")
    mesh.answering.update({key(2), key(3)})
    results = await asyncio.gather(
        *(admit(registrar, request(n), certified("alpha")) for n in (2, 3)), return_exceptions=True
    )
    assert sum(isinstance(result, Binding) for result in results) == 1
    assert sum(isinstance(result, Denied) for result in results) == 1


async def test_what_changed_while_a_member_was_asked_counts(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive.add("alpha")
    mesh.while_asked = lambda: ledger.remove(key(1))
    binding = await admit(registrar, request(2), certified("alpha"))
    assert mesh.announced[-1] == (binding, None)


@pytest.mark.parametrize("caller", [certified("beta"), certified("alpha", mesh="green")])
async def test_a_certificate_for_another_node_or_mesh_is_denied(registrar: Registrar, caller: Caller) -> None:
    assert (await denial(registrar, request(1, "alpha"), caller)).reason is DenialReason.WRONG_IDENTITY


async def test_a_name_is_kept_for_a_joiner_that_is_still_on_its_way(registrar: Registrar) -> None:
    await admit(registrar, request(1, "alpha"))
    assert (await denial(registrar, request(2, "alpha"))).reason is DenialReason.NAME_IN_USE


async def test_an_exhausted_range_is_said(ledger: Ledger, mesh: FakeMesh) -> None:
    registrar = Registrar("blue", ledger, AddressAllocator([ip_network("10.232.5.0/30")]), mesh)
    await admit(registrar, request(1))
    await admit(registrar, request(2))
    denied = await denial(registrar, request(3))
    assert denied.reason is DenialReason.EXHAUSTED
    assert "10.232.5.0/30" in str(denied)
    assert len(ledger) == 2


async def test_an_address_another_bootstrap_promised_is_passed_over(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    mesh.elsewhere = {ip_address("10.232.0.1"), ip_address("10.232.0.2")}
    binding = await admit(registrar, request(1))
    assert binding.claim.addresses == (ip_address("10.232.0.3"),)


async def test_a_roster_gives_the_address_and_decides_who_joins(registrar: Registrar, mesh: FakeMesh) -> None:
    await admit(registrar, request(1, "alpha"))
    mesh.roster = {"alpha": (ip_address("10.232.77.7"),)}
    moved = await admit(registrar, request(1, "alpha"))
    assert moved.claim.addresses == (ip_address("10.232.77.7"),)
    assert (await denial(registrar, request(2, "beta"))).reason is DenialReason.NOT_LISTED


async def test_what_is_not_agreed_yet_is_told_to_nobody(registrar: Registrar, mesh: FakeMesh) -> None:
    seen: list[int] = []

    async def look(_claim: Claim) -> bool:
        seen.append(len(list(registrar.members())))
        return True

    mesh.claim_elsewhere = look  # type: ignore[assignment,method-assign]
    await admit(registrar, request(1))
    assert seen == [0]
    assert len(list(registrar.members())) == 1


async def test_a_broken_agreement_leaves_nothing_bound(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    async def fail(_claim: Claim) -> bool:
        raise ConnectionError

    mesh.claim_elsewhere = fail  # type: ignore[assignment,method-assign]
    with pytest.raises(ConnectionError):
        await admit(registrar, request(1))
    assert len(ledger) == 0


async def test_a_promise_keeps_an_address_for_its_key_until_it_ends(registrar: Registrar) -> None:
    wanted = Claim("x", key(7), (ip_address("10.232.0.1"),), ())
    assert registrar.reserve(wanted, 0.0)
    assert registrar.reserve(wanted, 1.0)
    assert not registrar.reserve(Claim("y", key(8), wanted.addresses, ()), 1.0)
    assert (await admit(registrar, request(1), now=2.0)).claim.addresses == (ip_address("10.232.0.2"),)
    assert registrar.reserve(Claim("y", key(8), wanted.addresses, ()), 2.0 + RESERVATION_SECONDS)


async def test_one_asker_is_promised_no_more_than_some_addresses(registrar: Registrar) -> None:
    first = ip_address("10.232.16.1")
    asked = [Claim("x", key(n), (first + n,), ()) for n in range(1, MAX_PROMISES_AN_ASKER + 2)]
    promised = [registrar.reserve(one, 0.0, "evil") for one in asked]
    assert sum(promised) == MAX_PROMISES_AN_ASKER
    assert registrar.reserve(asked[-1], 0.0, "boot2")
    assert registrar.reserve(asked[0], 0.0, "boot3") is True
    later = Claim("y", key(9), (first + 5000,), ())
    assert registrar.reserve(later, RESERVATION_SECONDS + 1.0, "evil")


async def test_an_address_outside_the_mesh_is_promised_to_nobody(registrar: Registrar) -> None:
    assert not registrar.reserve(Claim("x", key(7), (ip_address("192.0.2.1"),), ()), 0.0)


async def test_a_member_whose_replacement_is_denied_stays_bound(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.roster = {"alpha": (ip_address("10.232.99.1"),)}
    assert ledger.accept(Claim("gamma", key(7), mesh.roster["alpha"], ()), Origin.PEERS, 1.0) is None
    for number in (1, 2):
        denied = await denial(registrar, request(number, "alpha"), certified("alpha"))
        assert denied.reason is DenialReason.NAME_IN_USE
        assert ledger.by_name("alpha") == first


async def test_a_joiner_that_never_came_is_taken_back(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    late = await admit(registrar, request(1))
    came = await admit(registrar, request(2))
    ledger.mark_alive(came.claim.public_key, 1001.0)
    await registrar.sweep(1059.0)
    assert mesh.taken_back == []
    await registrar.sweep(1061.0)
    assert mesh.taken_back == [late]
    assert [binding.claim.public_key for binding in ledger] == [came.claim.public_key]


async def test_a_binding_heard_elsewhere_is_not_swept(registrar: Registrar, ledger: Ledger) -> None:
    ledger.accept(Claim("x", key(7), (ip_address("10.232.0.1"),), ()), Origin.ANNOUNCED, 0.0)
    await registrar.sweep(1e6)
    assert len(ledger) == 1


async def test_a_node_that_left_and_comes_back_gets_its_address_again(
    registrar: Registrar, ledger: Ledger
) -> None:
    first = await admit(registrar, request(1, "alpha"))
    await admit(registrar, request(2, "beta"))
    ledger.remove(key(1))
    again = await admit(registrar, request(3, "alpha"))
    assert again.claim.addresses == first.claim.addresses


async def test_a_node_that_comes_back_to_find_its_address_taken_gets_another(
    registrar: Registrar, ledger: Ledger, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "alpha"))
    ledger.remove(key(1))
    taker = Claim("gamma", key(7), first.claim.addresses, ())
    assert ledger.accept(taker, Origin.PEERS, 1000.0) is None
    again = await admit(registrar, request(3, "alpha"))
    assert again.claim.addresses != first.claim.addresses
    ledger.remove(key(3))
    mesh.others, mesh.elsewhere = ("other",), set(again.claim.addresses)
    third = await admit(registrar, request(4, "alpha"))
    assert not set(third.claim.addresses) & {*first.claim.addresses, *again.claim.addresses}


async def test_who_proves_to_be_the_member_takes_its_place_unasked(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    first = await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive, mesh.answering = {"alpha"}, {key(1)}
    again = await registrar.admit(
        request(2, "alpha"), certified("alpha"), now=0.0, now_unix=1000.0, proven=key(1)
    )
    assert again.claim.addresses == first.claim.addresses
    assert mesh.questions == []
    assert mesh.announced[-1] == (again, first)


async def test_who_proves_to_be_the_member_needs_no_name_in_its_certificate(
    registrar: Registrar, mesh: FakeMesh
) -> None:
    await admit(registrar, request(1, "alpha"), ANYONE)
    mesh.alive = {"alpha"}
    again = await registrar.admit(request(2, "alpha"), ANYONE, now=0.0, now_unix=1000.0, proven=key(1))
    assert again.claim.public_key == key(2)


async def test_a_proof_of_another_key_is_worth_nothing(registrar: Registrar, mesh: FakeMesh) -> None:
    await admit(registrar, request(1, "alpha"), certified("alpha"))
    mesh.alive, mesh.answering = {"alpha"}, {key(1)}
    with pytest.raises(Denied, match="alive on another machine"):
        await registrar.admit(
            request(2, "alpha"), certified("alpha"), now=0.0, now_unix=1000.0, proven=key(3)
        )
    assert mesh.questions == [key(1)]


@pytest.mark.parametrize("raw", [b"abc", bytes(20)])
async def test_ids_of_secrets_that_are_none_are_refused(registrar: Registrar, raw: bytes) -> None:
    denied = await denial(registrar, request(1, "alpha", secretIds=raw))
    assert denied.reason is DenialReason.BAD_SECRETS


def test_reasons_are_in_metrics_by_these_words() -> None:
    assert [reason.value for reason in DenialReason] == [
        "wrong_mesh",
        "wrong_identity",
        "bad_key",
        "bad_name",
        "bad_endpoint",
        "bad_route",
        "bad_secrets",
        "key_in_use",
        "name_in_use",
        "exhausted",
        "not_listed",
        "revoked",
        "proof",
        "token",
    ]


async def test_a_joiner_may_ask_for_some_routes_and_no_more(registrar: Registrar) -> None:
    routes = [f"10.{number}.0.0/16" for number in range(MAX_ROUTES + 1)]
    assert await admit(registrar, request(1, "alpha", routes=routes[:-1]))
    denied = await denial(registrar, request(2, "beta", routes=routes))
    assert denied.reason is DenialReason.BAD_ROUTE
    assert str(denied) == f"{MAX_ROUTES + 1} routes are more than {MAX_ROUTES}"


async def test_a_joiner_that_leaves_while_others_are_asked_is_to_try_again(ledger: Ledger) -> None:
    class Leaving(FakeMesh):
        """Whose joiner was removed when the others have agreed."""

        async def claim_elsewhere(self, claim: Claim) -> bool:
            ledger.remove(claim.public_key)
            return True

    leaving = Registrar("blue", ledger, AddressAllocator([ip_network("10.232.0.0/16")]), Leaving())
    denied = await denial(leaving, request(1, "alpha"))
    assert denied.reason is DenialReason.KEY_IN_USE
    assert "try again" in str(denied)
