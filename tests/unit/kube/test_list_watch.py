"""Lists and watches of the API server, in their own thread: whatever breaks, the thread lists again."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from tests.unit.kube.harness import eventually

from wgmesh_agent.kube.api_client import ApiError
from wgmesh_agent.kube.list_watch import (
    BACKOFF,
    Freshness,
    ListWatch,
    Object,
    backoff_seconds,
)

LISTED = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}


class UnheardOf(Exception):
    """An exception that the watch does not know."""


class Stream:
    """One watch: its lines, cut anywhere, then the end."""

    def __init__(self, *events: object, breaks: Exception | None = None) -> None:
        data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        self._chunks = [data[:13], data[13:]] if data else []
        self._breaks = breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._breaks is not None:
            raise self._breaks


class Script:
    """Answers lists and watches in the order given, then nothing until the test is over."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()

    def read(self, path: str, query: list[tuple[str, str]]) -> Object:
        found: Any = self._next(query)
        return found  # type: ignore[no-any-return]

    def stream(self, path: str, query: list[tuple[str, str]]) -> Iterator[bytes]:
        found: Any = self._next(query)
        return iter(found)

    def _next(self, query: list[tuple[str, str]]) -> object:
        self.asked.append(dict(query))
        if not self.answers:
            self.over.wait()
            raise ApiError("over")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def name_of(body: Object) -> str:
    return str(body["metadata"]["name"])


class Ground:
    """A watch of scripted answers, and what it told: names listed, or kind and name of a change."""

    def __init__(self) -> None:
        self.script = Script()
        self.told: list[object] = []
        self.pauses: list[int] = []
        self.now = 100.0
        self.watch: ListWatch[str] | None = None

    def start(
        self,
        *answers: object,
        read: Callable[[Object], str] = name_of,
        replace: Callable[[list[str]], None] | None = None,
    ) -> ListWatch[str]:
        self.script.answers = list(answers)
        self.watch = ListWatch(
            self.script,
            "/things",
            [("only", "ours")],
            read,
            replace or self.told.append,
            lambda kind, name: self.told.append((kind, name)),
            pause=self._pause,
            freshness=Freshness(lambda: self.now),
        )
        self.watch.start()
        return self.watch

    def _pause(self, failures: int) -> float:
        self.pauses.append(failures)
        return 0.0

    async def asked(self, questions: int) -> list[object]:
        """The objects reported after so many requests."""
        await eventually(lambda: len(self.script.asked) >= questions)
        await eventually(lambda: self.told)
        return self.told


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground()
    yield made
    if made.watch is not None:
        made.watch.stop()
        made.script.over.set()
        await eventually(lambda: made.watch is not None and not made.watch.thread.is_alive())


def event(kind: str, name: str, version: str = "8") -> dict[str, object]:
    return {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}


async def test_changes_are_told_and_the_next_watch_goes_on_from_the_last(ground: Ground) -> None:
    ground.start(LISTED, Stream(event("ADDED", "b"), event("BOOKMARK", "", "20")))
    assert await ground.asked(3) == [["a"], ("ADDED", "b")]
    assert [asked.get("resourceVersion") for asked in ground.script.asked] == [None, "7", "20"]
    assert ground.script.asked[1]["only"] == "ours"


async def test_a_version_that_is_too_old_begins_with_a_list(ground: Ground) -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
    ground.start(LISTED, Stream(event("ADDED", "b"), gone), {**LISTED, "items": []}, Stream())
    assert await ground.asked(5) == [["a"], ("ADDED", "b"), []]


async def test_an_api_server_that_does_not_answer_is_asked_again_and_nothing_is_told(ground: Ground) -> None:
    ground.start(ApiError("away"), ApiError("away"), LISTED)
    assert await ground.asked(4) == [["a"]]


async def test_a_long_list_comes_in_parts_and_is_told_whole(ground: Ground) -> None:
    first = {"metadata": {"continue": "more"}, "items": LISTED["items"]}
    second = {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "z"}}]}
    ground.start(first, second)
    assert await ground.asked(3) == [["a", "z"]]
    assert ground.script.asked[1]["continue"] == "more"


ODD_ANSWERS: dict[str, object] = {
    "an exception nobody foresaw": UnheardOf("x"),
    "an error of the kind a closed loop raises": RuntimeError("not of a loop"),
    "no mapping": None,
    "a list without metadata": {"items": []},
    "items that are no list": {**LISTED, "items": {"a": 1}},
    "an item that is no object": {**LISTED, "items": [7]},
}


@pytest.mark.parametrize("odd", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
async def test_whatever_a_list_comes_to_the_next_is_asked_for(ground: Ground, odd: object) -> None:
    ground.start(odd, LISTED)
    assert await ground.asked(3) == [["a"]]
    assert ground.watch is not None
    assert ground.watch.thread.is_alive()


ODD_WATCHES: dict[str, object] = {
    "broken off": Stream(event("DELETED", "a"), breaks=OSError("connection reset")),
    "an exception nobody foresaw": Stream(event("DELETED", "a"), breaks=UnheardOf("x")),
    "no JSON": [json.dumps(event("DELETED", "a")).encode() + b"\n", b"{\n"],
    "a line that is no event": Stream(event("DELETED", "a"), 7),
    "an object that is none": Stream(event("DELETED", "a"), {"type": "ADDED", "object": 7}),
    "nesting": [json.dumps(event("DELETED", "a")).encode() + b"\n", b"[" * 100_000 + b"\n"],
}


@pytest.mark.parametrize("odd", ODD_WATCHES.values(), ids=ODD_WATCHES)
async def test_whatever_a_watch_comes_to_a_list_follows(ground: Ground, odd: object) -> None:
    ground.start(LISTED, odd, LISTED)
    assert await ground.asked(4) == [["a"], ("DELETED", "a"), ["a"]]


async def test_what_cannot_be_applied_is_made_good_by_a_list(ground: Ground) -> None:
    has_failed = threading.Event()

    def fails_once(names: list[str]) -> None:
        if not has_failed.is_set():
            has_failed.set()
            raise UnheardOf("x")
        ground.told.append(names)

    def bookmarks() -> Iterator[bytes]:
        has_failed.wait()
        yield from Stream(event("BOOKMARK", "", "20"))

    ground.start(LISTED, bookmarks(), LISTED, replace=fails_once)
    await eventually(lambda: ground.told)
    assert ground.told == [["a"]]


async def test_failures_in_a_row_are_counted_for_the_pause(ground: Ground) -> None:
    ground.start(ApiError("away"), UnheardOf("x"), ApiError("away"), LISTED)
    await ground.asked(5)
    assert ground.pauses == [1, 2, 3]


async def test_a_server_that_ends_watches_at_once_is_asked_ever_less_often(ground: Ground) -> None:
    ground.start(LISTED, Stream(), Stream(), Stream())
    await ground.asked(5)
    assert ground.pauses == [1, 2, 3]


def test_pauses_double_up_to_half_a_minute_and_differ() -> None:
    for failures in range(40):
        longest = min(BACKOFF.longest_seconds, BACKOFF.first_seconds * 2**failures)
        pauses = {backoff_seconds(failures) for _ in range(20)}
        assert len(pauses) > 1
        assert all(longest / 2 <= pause <= longest for pause in pauses)


async def test_age_counts_from_what_the_server_said_last(ground: Ground) -> None:
    watch = ground.start(LISTED, Stream(event("BOOKMARK", "", "20")))
    await ground.asked(3)
    ground.now += 40.0
    assert watch.freshness.age_seconds == 40.0


async def test_what_was_never_listed_has_no_age(ground: Ground) -> None:
    watch = ground.start(ApiError("away"), ApiError("away"))
    await eventually(lambda: len(ground.script.asked) == 3)
    assert watch.freshness.age_seconds is None
