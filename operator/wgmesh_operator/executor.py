"""Executes plans: in threads, in order, actions of one kind concurrently; responses update the cache."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from wgmesh_operator.api_client import MAX_CONNECTIONS, ApiError, ApiUnreachable, ClusterApi
from wgmesh_operator.api_resources import WATCHED_KINDS
from wgmesh_operator.cluster_cache import ClusterCache
from wgmesh_operator.decisions.actions import Action, Emit
from wgmesh_operator.decisions.faults import Border, Fault, explained
from wgmesh_operator.liveness import LivenessCheck
from wgmesh_operator.rejections import Rejections

log = logging.getLogger(__name__)
T = TypeVar("T")
_BATCH = 4 * MAX_CONNECTIONS


@dataclass(slots=True)
class Outcome:
    """Result of an action. `error`: the rejection, as a sentence, or empty; `conflict`: another writer was faster."""

    error: str = ""
    changed: bool = False
    conflict: bool = False


class Executor:
    """Calls of the API block, so they run in threads; everything else runs in the event loop's."""

    def __init__(
        self, cluster: ClusterApi, cache: ClusterCache, progress: LivenessCheck, rejections: Rejections
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._progress = progress
        self._rejections = rejections
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="api")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def execute_all(self, actions: Sequence[Action]) -> Outcome:
        """Executes all, even if some are rejected or fail. Raises ApiUnreachable: some are done then, some are not."""
        outcome = Outcome()
        for _, group in itertools.groupby(actions, key=lambda action: (type(action), action.kind)):
            same = list(group)
            for start in range(0, len(same), _BATCH):
                batch = same[start : start + _BATCH]
                results = await asyncio.gather(*map(self._do, batch), return_exceptions=True)
                for action, result in zip(batch, results, strict=True):
                    self._add(outcome, action, result)
        return outcome

    async def _do(self, action: Action) -> bool:
        """Executes one, and stores the resulting object; returns whether that is a change."""
        body = await self.in_thread(lambda: self._cluster.execute(action))
        self._progress.heartbeat()
        if isinstance(action, Emit):
            return False
        watched = WATCHED_KINDS.get(action.kind)
        if watched is None:
            log.debug("%s", describe_action(action))
            return False
        log.info("%s", describe_action(action))
        if body is None:
            self._cache.remove(watched, action.name)
            return True
        return self._cache.put(watched, body)

    def _add(self, outcome: Outcome, action: Action, result: bool | BaseException) -> None:
        match result:
            case bool():
                outcome.changed |= result
            case ApiError() if isinstance(action, Emit):
                log.warning("%s was refused: %s", describe_action(action), result)
            case ApiError() if result.is_conflict:
                # the watch, or the next pass, delivers the other writer's change
                log.debug("%s: %s", describe_action(action), result)
                outcome.conflict = True
            case ApiError():
                outcome.error = f"{describe_action(action)} was rejected: {result}"
            case Exception() if not isinstance(result, ApiUnreachable):
                # the fault of one action: it must not abort the pass for all that follow
                self._rejections.count(Fault(Border.ACTION, describe_action(action), result))
                outcome.error = f"{describe_action(action)} failed: {explained(result)}"
            case _:
                raise result


def describe_action(action: Action) -> str:
    verb = type(action).__name__.lower()
    subresource = getattr(action, "subresource", "")
    return f"{verb} {action.kind.value} {action.name}" + (f" {subresource}" if subresource else "")
