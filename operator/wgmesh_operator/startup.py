"""Before kopf runs: waits for the API server, and for the CRDs.

kopf discovers them once, at its start.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from wgmesh_operator.api_client import ApiError, ApiUnreachable, ClusterApi
from wgmesh_operator.api_resources import WatchedResource
from wgmesh_operator.clock import Clock
from wgmesh_operator.log_on_change import LogOnChange

log = logging.getLogger(__name__)

POLL_INTERVAL_SECONDS = 2.0


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Ends the process on SIGTERM during the block: kopf, which does so later, is not running yet."""
    # otherwise SIGTERM would not end the first process of a container
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_for_api(cluster: ClusterApi, clock: Clock) -> None:
    """Waits for the API server and the CRDs."""
    waiting = LogOnChange(log)
    while True:
        try:
            for watched in WatchedResource:
                cluster.list_all(watched)
        except (ApiError, ApiUnreachable) as error:
            waiting.warning(f"waiting for the API server to serve {watched}: {error}")
            clock.sleep(POLL_INTERVAL_SECONDS)
        else:
            return
