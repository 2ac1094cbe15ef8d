"""List and watch of one kind of object, in a thread that survives every error.

The algorithm is client-go's reflector (tools/cache/reflector.go): list, watch from the version of the list, list again
when the watch breaks, with exponential backoff. A thread that ended would leave the agent with the roster of that
moment:
it would not learn of new members, and keep removed ones.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

import structlog

from wgmesh_agent.runtime.backoff import Backoff, equal_jitter

log = structlog.get_logger()
PAGE_SIZE = 500
WATCH_SECONDS = 240
STEADY_SECONDS = 10.0
"""A watch of this duration worked: its end is independent of earlier failures."""
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=30.0)
MOST_LINE_BYTES = 16 * 1024 * 1024
"""An object in etcd has at most 1.5 MiB; no line of a watch is much longer."""

Object = Mapping[str, Any]
T = TypeVar("T")


class Freshness:
    """When the data was last confirmed; written by the thread, read anywhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._confirmed_at: float | None = None

    def confirm(self) -> None:
        """The API server has just reported the complete state."""
        self._confirmed_at = self._clock()

    @property
    def age_seconds(self) -> float | None:
        """Seconds since then; None before the first list."""
        confirmed_at = self._confirmed_at
        return None if confirmed_at is None else max(0.0, self._clock() - confirmed_at)


class Reads(Protocol):
    """The API calls of a list and a watch; both raise ApiError, or any other exception."""

    def read(self, path: str, query: list[tuple[str, str]]) -> Object:
        """One complete response."""

    def stream(self, path: str, query: list[tuple[str, str]]) -> Iterator[bytes]:
        """A streamed response in chunks of any size."""


class BrokenWatch(Exception):
    """A malformed list or watch event."""


def backoff_seconds(failures: int) -> float:
    """The pause after that many failures in a row: doubled each time up to 30 s, minus a random part of up to half."""
    return equal_jitter(BACKOFF.seconds(failures + 1))


class ListWatch(Generic[T]):
    """The list and watch of one path, and their thread."""

    def __init__(
        self,
        reads: Reads,
        path: str,
        query: list[tuple[str, str]],
        read: Callable[[Object], T],
        replace: Callable[[list[T]], None],
        change: Callable[[str, T], None],
        *,
        pause: Callable[[int], float] = backoff_seconds,
        freshness: Freshness | None = None,
    ) -> None:
        """
        Args:
            read: called in the thread with each object: decoding thousands would block the event loop.
            replace: called on the event loop with all objects, after each list.
            change: called on the event loop with ADDED, MODIFIED or DELETED and the decoded object.
            pause: seconds by the number of failures in a row.
        """
        self._reads = reads
        self._path = path
        self._query = query
        self._read = read
        self._replace = replace
        self._change = change
        self._pause = pause
        self.freshness = freshness or Freshness()
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._is_undelivered = threading.Event()
        self._failures = 0
        # The thread ends with the process: it may wait for the API server for minutes.
        self.thread = threading.Thread(target=self._work, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread before its next request."""
        self._stopped.set()

    def _work(self) -> None:
        try:
            while not self._stopped.is_set() and not self._loop.is_closed():
                began = time.monotonic()
                try:
                    self._run_once()
                except Exception as error:
                    # Any exception: this thread alone keeps the roster up to date.
                    self._failed(error, lasted=time.monotonic() - began)
        finally:
            if not self._stopped.is_set() and not self._loop.is_closed():
                log.error("watch ended", path=self._path, next="the agent reports itself not ready")

    def _failed(self, error: Exception, *, lasted: float) -> None:
        if self._loop.is_closed():
            return
        self._failures = 1 if lasted >= STEADY_SECONDS else self._failures + 1
        pause = self._pause(self._failures)
        # The caller logs why a server does not respond.
        tell = log.warning if self._failures == 1 else log.debug
        tell(
            "watch interrupted",
            path=self._path,
            error=_sentence(error),
            next=f"listing again in {pause:.1f} s",
        )
        self._stopped.wait(pause)

    def _run_once(self) -> None:
        """One list, then watches from its version until one breaks or the version is too old."""
        version, idle = self._list(), 0
        while version and not self._stopped.is_set():
            began, before = time.monotonic(), version
            version = self._watch(version)
            # A server, or a proxy in front of it, that ends watches at once is not called again at once.
            idle = 0 if version != before or time.monotonic() - began >= BACKOFF.first_seconds else idle + 1
            if idle:
                self._stopped.wait(self._pause(idle))
        if not self._stopped.is_set():
            raise BrokenWatch("the version is too old")

    def _list(self) -> str:
        """Lists and hands over all objects; returns the version to watch from."""
        found: list[T] = []
        more = ""
        while True:
            page = [*self._query, ("limit", str(PAGE_SIZE)), *([("continue", more)] if more else [])]
            answer = self._reads.read(self._path, page)
            metadata, items = answer.get("metadata"), answer.get("items") or []
            if not isinstance(metadata, Mapping) or not isinstance(items, list):
                raise BrokenWatch("the response is not a list of objects")
            found += [self._read(_object(item)) for item in items]
            more = str(metadata.get("continue") or "")
            if not more:
                self._is_undelivered.clear()
                self._deliver(self._replace, found)
                self.freshness.confirm()
                return str(metadata.get("resourceVersion") or "")

    def _watch(self, version: str) -> str:
        """One watch request; returns the version to continue from, or empty to list again."""
        watching = [
            *self._query,
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(WATCH_SECONDS)),
        ]
        for line in _lines(self._reads.stream(self._path, watching)):
            event = _object(json.loads(line))
            kind, body = event.get("type"), _object(event.get("object") or {})
            if kind == "ERROR":
                return ""
            metadata = body.get("metadata")
            if isinstance(metadata, Mapping):
                version = str(metadata.get("resourceVersion") or version)
            if kind != "BOOKMARK":
                self._deliver(self._change, str(kind), self._read(body))
            self._confirm()
        self._confirm()
        return version

    def _deliver(self, apply: Callable[..., None], *found: object) -> None:
        self._loop.call_soon_threadsafe(self._apply, apply, *found)

    def _confirm(self) -> None:
        if self._is_undelivered.is_set():
            self._is_undelivered.clear()
            raise BrokenWatch("an earlier event could not be applied")
        self.freshness.confirm()

    def _apply(self, apply: Callable[..., None], *found: object) -> None:
        try:
            apply(*found)
        except Exception as error:
            # Whatever the error is, the next list corrects it.
            self._is_undelivered.set()
            log.exception(
                "cannot apply the roster", path=self._path, error=_sentence(error), next="listing again"
            )


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        pending += chunk
        *lines, pending = pending.split(b"\n")
        if len(pending) > MOST_LINE_BYTES:
            raise BrokenWatch(f"a line is longer than {MOST_LINE_BYTES} bytes")
        yield from filter(None, lines)


def _object(value: object) -> Object:
    if not isinstance(value, Mapping):
        raise BrokenWatch("the event is not an object")
    return value


def _sentence(error: Exception) -> str:
    return str(error) or repr(error)
