"""Lists and watches of the API server, in their own thread: what breaks is begun anew."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.kube.ground import eventually

from wgmesh_agent.kube import api as module
from wgmesh_agent.kube.api import Api, ApiError, Object

LISTED = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}


class Response:
    """One watch: its lines, cut anywhere, then the end."""

    def __init__(self, *events: object, breaks: bool = False) -> None:
        data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        self._chunks = [data[:13], data[13:]] if data else []
        self._breaks = breaks

    def stream(self, amount: None, decode_content: bool) -> Iterator[bytes]:
        yield from self._chunks
        if self._breaks:
            raise OSError("connection reset")

    def release_conn(self) -> None:
        pass


class ScriptedApi(Api):
    """Answers lists and watches in the order given, then nothing for ever."""

    def __init__(self, *answers: Object | Response | ApiError) -> None:
        super().__init__()
        self._answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.over = threading.Event()

    def _next(self, query: list[tuple[str, str]] | None) -> Any:
        self.asked.append(dict(query or ()))
        if not self._answers:
            self.over.wait()
            raise ApiError("over")
        answer = self._answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        found: Object = self._next(query)
        return found

    def _raw(
        self,
        method: str,
        path: str,
        body: Object | None,
        query: list[tuple[str, str]],
        content_type: str | None,
        timeout: Any,
    ) -> Any:
        return self._next(query)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)


async def watched(api: ScriptedApi, questions: int) -> list[object]:
    """What was told by the time so many questions were asked: names listed, or kind and name of a change."""
    told: list[object] = []

    api.watch(
        "/things",
        [("only", "ours")],
        lambda body: str(body["metadata"]["name"]),
        told.append,
        lambda kind, name: told.append((kind, name)),
    )
    await eventually(lambda: len(api.asked) == questions)
    # What the thread told before it asked again is on the loop by now, and behind us after this turn.
    await eventually(lambda: told)
    api.over.set()
    return told


def event(kind: str, name: str, version: str = "8") -> dict[str, object]:
    return {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}


async def test_changes_are_told_and_the_next_watch_goes_on_from_the_last(hasty: None) -> None:
    api = ScriptedApi(LISTED, Response(event("ADDED", "b"), event("BOOKMARK", "", "20")))
    told = await watched(api, 3)
    assert told == [["a"], ("ADDED", "b")]
    assert [asked.get("resourceVersion") for asked in api.asked] == [None, "7", "20"]
    assert api.asked[1]["only"] == "ours"


async def test_a_version_that_is_too_old_begins_with_a_list(hasty: None) -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
    api = ScriptedApi(LISTED, Response(event("ADDED", "b"), gone), {**LISTED, "items": []}, Response())
    assert await watched(api, 5) == [["a"], ("ADDED", "b"), []]


async def test_a_broken_connection_begins_with_a_list(hasty: None) -> None:
    api = ScriptedApi(LISTED, Response(event("DELETED", "a"), breaks=True), LISTED)
    assert await watched(api, 4) == [["a"], ("DELETED", "a"), ["a"]]


async def test_an_api_server_that_does_not_answer_is_asked_again_and_nothing_is_told(hasty: None) -> None:
    api = ScriptedApi(ApiError("away"), ApiError("away"), LISTED)
    assert await watched(api, 4) == [["a"]]


async def test_a_long_list_comes_in_parts_and_is_told_whole(hasty: None) -> None:
    first = {"metadata": {"continue": "more"}, "items": LISTED["items"]}
    second = {"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "z"}}]}
    api = ScriptedApi(first, second)
    assert await watched(api, 3) == [["a", "z"]]
    assert api.asked[1]["continue"] == "more"
