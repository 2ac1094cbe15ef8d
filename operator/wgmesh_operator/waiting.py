"""Before kopf runs: the API server is waited for, and probes and signals are answered meanwhile.

Who starts while the API server is away must neither be killed for it nor be sent requests: it is alive, and not ready.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from wgmesh_operator.cluster import ApiError, Cluster, Unreachable
from wgmesh_operator.resources import Watched

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 2.0
READINESS = "/healthz?ready"
"""What the chart's readiness probe asks. kopf, which answers later, does not look at the query."""


class _Probe(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        self.send_response(503 if self.path == READINESS else 200)
        body = b"waiting for the API server\n"
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


@contextmanager
def answering(port: int) -> Iterator[None]:
    """Answers probes, on all addresses, and ends the process on SIGTERM, for as long as the block takes.

    Raises:
        OSError: the port is taken.
    """
    server = ThreadingHTTPServer(("", port), _Probe)
    server.daemon_threads = True
    # As the first process of a container it would not be ended by SIGTERM otherwise.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        signal.signal(signal.SIGTERM, before)


def until_served(cluster: Cluster) -> None:
    """Waits for the API server and the definitions of the resources: kopf looks for them once, at its start."""
    said = ""
    while True:
        try:
            for watched in Watched:
                cluster.list_all(watched)
        except (ApiError, Unreachable) as error:
            sentence = f"waiting for the API server to serve {watched}: {error}"
            if sentence != said:
                log.warning("%s", sentence)
            said = sentence
            time.sleep(ASK_AGAIN_SECONDS)
        else:
            return
