"""Doing what was planned: in threads, in order, what is of one sort at once; answers go into the store."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from wgmesh_operator.cluster import CONNECTIONS, ApiError, Cluster
from wgmesh_operator.decisions.actions import Action, Emit
from wgmesh_operator.progress import Progress
from wgmesh_operator.resources import WATCHED_KINDS
from wgmesh_operator.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
_BATCH = 4 * CONNECTIONS


@dataclass(slots=True)
class Outcome:
    """How it went. `trouble`: what was refused, as a sentence, or empty; `conflict`: somebody was quicker."""

    trouble: str = ""
    changed: bool = False
    conflict: bool = False


class Executor:
    """Calls of the API block, so they are made in threads; everything else happens in the loop's."""

    def __init__(self, cluster: Cluster, store: Store, progress: Progress) -> None:
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="api")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def do_all(self, actions: Sequence[Action]) -> Outcome:
        """Do them all, also if some are refused. Raises Unreachable: then some are done, and some are not."""
        outcome = Outcome()
        for _, group in itertools.groupby(actions, key=lambda action: (type(action), action.kind)):
            same = list(group)
            for start in range(0, len(same), _BATCH):
                batch = same[start : start + _BATCH]
                results = await asyncio.gather(*map(self._do, batch), return_exceptions=True)
                for action, result in zip(batch, results, strict=True):
                    _add(outcome, action, result)
        return outcome

    async def _do(self, action: Action) -> bool:
        """Do it, and take over what it made of the object; whether that is a change."""
        body = await self.in_thread(lambda: self._cluster.do(action))
        self._progress.beat()
        if isinstance(action, Emit):
            return False
        watched = WATCHED_KINDS.get(action.kind)
        if watched is None:
            log.debug("%s", described(action))
            return False
        log.info("%s", described(action))
        if body is None:
            self._store.remove(watched, action.name)
            return True
        return self._store.put(watched, body)


def _add(outcome: Outcome, action: Action, result: bool | BaseException) -> None:
    if isinstance(result, bool):
        outcome.changed |= result
    elif not isinstance(result, ApiError):
        raise result
    elif isinstance(action, Emit):
        log.warning("%s was refused: %s", described(action), result)
    elif result.is_conflict:
        # what they did comes by the watch, or by the next look
        log.debug("%s: %s", described(action), result)
        outcome.conflict = True
    else:
        outcome.trouble = f"{described(action)} was refused: {result}"


def described(action: Action) -> str:
    verb = type(action).__name__.lower()
    subresource = getattr(action, "subresource", "")
    return f"{verb} {action.kind.value} {action.name}" + (f" {subresource}" if subresource else "")
