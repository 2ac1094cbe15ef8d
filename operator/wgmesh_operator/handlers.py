"""kopf handlers: watches that update the cache, credentials, and the controller's start and end.

Handlers decide nothing and write nothing; kopf's own writing to objects stays disabled.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import kopf

from wgmesh_operator.api_resources import FIELD_SELECTORS, LABEL_SELECTORS, WATCHED, WatchedResource
from wgmesh_operator.controller import Controller
from wgmesh_operator.decisions.faults import Border

SERVER_TIMEOUT_SECONDS = 300
CLIENT_TIMEOUT_SECONDS = 330
LOGIN_SECONDS = 2.0


class ReconnectAfter:
    """Seconds before each further attempt, without end: with an end, kopf ends too if the last response was
    "forbidden".

    An API server that has just started returns that to all clients until it has read its roles.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (1.0, 2.0, 3.0)
        yield from itertools.repeat(5.0)


def settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    # resources are discovered once, at the start: no permission to watch CRDs and namespaces is needed
    made.scanning.disabled = True
    made.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    made.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    made.networking.error_backoffs = ReconnectAfter()
    for watched, selector in LABEL_SELECTORS.items():
        made.watching.label_selectors[_selector(watched)] = selector
    for watched, selector in FIELD_SELECTORS.items():
        made.watching.field_selectors[_selector(watched)] = selector
    return made


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Reads the credentials. For a moment the service account's token may be absent or empty: kopf calls again then.

    Without this, kopf would end the operator.
    """
    try:
        return kopf.login_via_client(**arguments)
    except Exception as error:
        raise kopf.TemporaryError(f"the credentials cannot be read: {error}", delay=LOGIN_SECONDS) from error


def registry(controller: Controller) -> kopf.OperatorRegistry:
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(login)
    tasks: list[asyncio.Task[None]] = []

    async def start(**_: Any) -> None:
        tasks.append(asyncio.create_task(controller.run(), name="controller"))

    async def stop(**_: Any) -> None:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    kopf.on.startup(registry=made)(start)
    kopf.on.cleanup(registry=made)(stop)
    for watched in WatchedResource:
        _watch(made, controller, watched)
    return made


def _watch(made: kopf.OperatorRegistry, controller: Controller, watched: WatchedResource) -> None:
    async def tell(type: str | None, body: kopf.Body, **_: Any) -> None:
        deliver(controller, watched, type, body)

    resource = WATCHED[watched]
    kopf.on.event(resource.group, resource.version, resource.plural, registry=made, id=watched.name.lower())(
        tell
    )


def deliver(
    controller: Controller, watched: WatchedResource, type: str | None, body: Mapping[str, Any]
) -> None:
    """Passes one watch event to the cache."""
    with controller.rejections.fence(Border.WATCH, str(watched)):
        raw = dict(body)
        if type == "DELETED":
            controller.cache.remove(watched, raw["metadata"]["name"], raw)
        else:
            controller.cache.put(watched, raw)


def _selector(watched: WatchedResource) -> Any:
    resource = WATCHED[watched]
    return (resource.group, resource.version, resource.plural)
