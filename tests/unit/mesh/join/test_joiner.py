"""Entering by one of several bootstrap nodes: who is asked, how often, and what the user reads in the end."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest
from tests.unit.factories import mesh_record

from wgmesh_agent.mesh.discovery.advertised_endpoint import NoUsableEndpoint, UnusableEndpoint
from wgmesh_agent.mesh.join import joiner
from wgmesh_agent.mesh.join.client import JoinRefused, JoinResult, JoinUnreachable
from wgmesh_agent.mesh.join.joiner import (
    EARLIEST,
    CannotTryYet,
    EndpointLookup,
    JoinFailed,
    JoinTarget,
    clock_trouble,
    join_mesh,
    mesh_record_from,
)
from wgmesh_agent.runtime.backoff import Backoff
from wgmesh_agent.settings.model import HostPort
from wgmesh_agent.wireguard.keys import PublicKey
from wgmesh_agent.wireguard.model import Endpoint, IPAddress

A, B, C = HostPort("a", 5000), HostPort("b", 5000), HostPort("c", 5000)
ADMITTED = JoinResult(
    node="n2",
    addresses=(ip_address("10.232.0.1"),),
    ranges=(ip_network("10.232.0.0/16"),),
    created_unix=1,
    gossip_keys=(bytes(32),),
    profile="lan",
    gossip_port=7946,
    peers=(),
)


async def anywhere(towards: Sequence[IPAddress]) -> Endpoint:
    return Endpoint(ip_address("192.0.2.2"), 54540)


class Bootstraps:
    """What each bootstrap node answers, in turn; the last answer stays."""

    def __init__(self, answers: dict[HostPort, list[JoinResult | Exception]]) -> None:
        self.answers = answers
        self.asked: list[HostPort] = []

    async def __call__(self, door: JoinTarget, bootstrap: HostPort, endpoint: EndpointLookup) -> JoinResult:
        self.asked.append(bootstrap)
        answers = self.answers[bootstrap]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner, "BACKOFF", Backoff(0.001, 0.004))


async def enter(
    monkeypatch: pytest.MonkeyPatch, bootstraps: Bootstraps, seconds: float | None = None
) -> JoinResult:
    monkeypatch.setattr(joiner, "join_via", bootstraps)
    door = JoinTarget(tuple(bootstraps.answers), None, "lab", "n2", PublicKey(bytes(32)))
    return await join_mesh(door, anywhere, seconds)


async def test_the_first_that_admits_is_the_last_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstraps = Bootstraps({A: [JoinUnreachable("gone")], B: [ADMITTED], C: [ADMITTED]})
    assert await enter(monkeypatch, bootstraps) is ADMITTED
    assert bootstraps.asked == [A, B]


async def test_one_that_refuses_is_not_asked_again_and_one_out_of_reach_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = JoinUnreachable("gone")
    bootstraps = Bootstraps({A: [JoinRefused("name taken")], B: [gone, gone, gone, ADMITTED]})
    assert await enter(monkeypatch, bootstraps) is ADMITTED
    assert bootstraps.asked == [A, B, B, B, B]


async def test_when_all_refuse_the_user_reads_what_each_said(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstraps = Bootstraps({A: [JoinRefused("name taken")], B: [JoinRefused("wrong mesh")]})
    with pytest.raises(JoinFailed) as caught:
        await enter(monkeypatch, bootstraps)
    assert str(caught.value) == (
        "cannot join the mesh lab: a:5000 refused: name taken; b:5000 refused: wrong mesh"
    )
    assert bootstraps.asked == [A, B]


async def test_when_the_time_is_up_the_user_reads_the_last_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstraps = Bootstraps({A: [JoinUnreachable("no connection")], B: [JoinUnreachable("too slow")]})
    with pytest.raises(JoinFailed, match="a:5000 no connection; b:5000 too slow"):
        await enter(monkeypatch, bootstraps, 0.01)


async def test_no_time_at_all_is_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstraps = Bootstraps({A: [JoinUnreachable("gone")], B: [JoinUnreachable("gone")]})
    with pytest.raises(JoinFailed):
        await enter(monkeypatch, bootstraps, 0.0)
    assert bootstraps.asked == [A, B]


async def test_a_node_whose_own_address_can_never_do_asks_nobody_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bootstraps = Bootstraps({A: [UnusableEndpoint("set -listen-addr")], B: [ADMITTED]})
    with pytest.raises(UnusableEndpoint):
        await enter(monkeypatch, bootstraps)
    assert bootstraps.asked == [A]


async def test_the_time_does_not_run_while_this_machine_cannot_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    no_route = CannotTryYet("this machine has no route to a")
    bootstraps = Bootstraps({A: [*[no_route] * 30, JoinUnreachable("gone"), ADMITTED]})
    assert await enter(monkeypatch, bootstraps, 0.02) is ADMITTED


async def test_the_time_begins_anew_for_a_machine_whose_network_was_there_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, no_route = JoinUnreachable("gone"), CannotTryYet("this machine has no route to a")
    bootstraps = Bootstraps({A: [gone, *[no_route] * 30, gone, ADMITTED]})
    assert await enter(monkeypatch, bootstraps, 0.02) is ADMITTED


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (NoUsableEndpoint("eth0 has no address"), CannotTryYet),
        (UnusableEndpoint("inside the mesh"), UnusableEndpoint),
    ],
)
async def test_an_address_that_has_gone_again_is_waited_for_and_one_that_can_never_do_is_not(
    monkeypatch: pytest.MonkeyPatch, fault: NoUsableEndpoint, expected: type[Exception]
) -> None:
    async def nowhere(towards: Sequence[IPAddress]) -> Endpoint:
        raise fault

    monkeypatch.setattr(joiner, "has_route_to", lambda _: True)
    door = JoinTarget((), None, "lab", "n2", PublicKey(bytes(32)))
    with pytest.raises(expected, match=str(fault)):
        await joiner.join_via(door, HostPort("192.0.2.1", 5000), nowhere)


@pytest.mark.parametrize("has_route", [True, False])
async def test_what_fails_as_the_route_goes_was_no_attempt(
    monkeypatch: pytest.MonkeyPatch, has_route: bool
) -> None:
    routes = iter([True, has_route])

    async def unreachable(*_: object, **__: object) -> JoinResult:
        raise JoinUnreachable("network is unreachable")

    monkeypatch.setattr(joiner, "has_route_to", lambda _: next(routes))
    monkeypatch.setattr(joiner, "join", unreachable)
    door = JoinTarget((), None, "lab", "n2", PublicKey(bytes(32)))
    with pytest.raises(JoinUnreachable) as caught:
        await joiner.join_via(door, HostPort("192.0.2.1", 5000), anywhere)
    assert isinstance(caught.value, CannotTryYet) is not has_route


async def test_a_machine_that_cannot_ask_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstraps = Bootstraps(
        {A: [*[CannotTryYet("no route")] * 5, *[CannotTryYet("no name server")] * 5, ADMITTED]}
    )
    await enter(monkeypatch, bootstraps)
    said = [line for line in capsys.readouterr().out.splitlines() if "join via bootstrap node failed" in line]
    assert len(said) == 2


def test_a_clock_that_was_never_set_is_told_from_one_that_was() -> None:
    assert clock_trouble(datetime(1970, 1, 1, tzinfo=UTC)) is not None
    assert clock_trouble(EARLIEST) is None


def test_a_second_admission_keeps_tags_and_the_time_of_joining() -> None:
    first = mesh_record_from(ADMITTED, "lab", None, bootstrap=False)
    earlier = mesh_record(
        mesh="lab",
        node="n2",
        addresses=first.addresses,
        ranges=first.ranges,
        joined_unix=17,
        tags={"rack": "7"},
    )
    again = mesh_record_from(ADMITTED, "lab", earlier, bootstrap=False)
    assert (again.joined_unix, again.tags, again.gossip_keys) == (17, {"rack": "7"}, (bytes(32),))


@pytest.mark.parametrize(
    ("own_since", "their_since", "created", "kept"),
    [
        (100, 50, 1, True),
        (50, 100, 1, False),
        (100, 100, 1, False),
        (100, 50, 2, False),
    ],
    ids=["ours is later", "theirs is later", "of one time", "another mesh of that name"],
)
def test_of_two_key_rings_of_one_mesh_the_later_one_holds(
    own_since: int, their_since: int, created: int, kept: bool
) -> None:
    ours, theirs = (bytes([1]) * 32,), (bytes([2]) * 32, bytes([3]) * 32)
    earlier = mesh_record(created_unix=1, gossip_keys=ours, gossip_keys_since=own_since)
    told = replace(ADMITTED, created_unix=created, gossip_keys=theirs, gossip_keys_since=their_since)
    record = mesh_record_from(told, "lab", earlier, bootstrap=False)
    assert record.gossip_keys == (ours if kept else theirs)
    assert record.gossip_keys_since == (own_since if kept else their_since)


def test_the_same_key_ring_keeps_its_time() -> None:
    earlier = mesh_record(gossip_keys=ADMITTED.gossip_keys, gossip_keys_since=7)
    told = replace(ADMITTED, gossip_keys_since=9)
    assert mesh_record_from(told, "lab", earlier, bootstrap=False).gossip_keys_since == 7
