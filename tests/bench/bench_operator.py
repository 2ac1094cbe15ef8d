"""The operator before a real API server with thousands of members: agents are played, all else is real.

The played agents write when real ones would: `kube.status_rate_limit` says so for each. One member fails, all others
have that news.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import urllib3
from tests.bench.measurement import CannotRun, Measurement
from tests.bench.processes import cpu_seconds
from tests.kind.control_plane import PROGRAMS, Client, ControlPlane, control_plane
from tests.kind.simulated_agents import CRDS, MESHES, NAMESPACE, NODES, OWN, Operator, grant, served

from wgmesh_agent.kube.status_rate_limit import StatusRateLimiter
from wgmesh_api.report import NodeReport
from wgmesh_api.resources.crd import definitions
from wgmesh_api.roster import API_VERSION
from wgmesh_operator.rbac import operator_permissions

TITLE = "the operator and a real API server with thousands of WgMeshNodes whose agents all have news"
SIZES, QUICK_SIZES = (1000, 5000), (200,)
CONNECTIONS = 8
NEWS_SECONDS, QUICK_NEWS_SECONDS = 60.0, 15.0
ROLL_UPS, QUICK_ROLL_UPS = 5, 2
MOST_WRITES, MOST_ROLL_UP_SECONDS = 50.0, 5.0
LONGEST_SECONDS = 600.0
MESH = "blue"
Json = dict[str, Any]


def measure(quick: bool) -> list[Measurement]:
    """Needs the programs that `make e2e` brings."""
    if not (PROGRAMS / "kube-apiserver").exists():
        raise CannotRun(f"no kube-apiserver in {PROGRAMS}: `tests/kind/cluster/prepare` brings it")
    rows: list[Measurement] = []
    for size in QUICK_SIZES if quick else SIZES:
        with tempfile.TemporaryDirectory() as folder, control_plane(Path(folder)) as plane:
            _prepare(plane)
            operator = Operator(plane, Path(folder))
            operator.start()
            try:
                rows += _Mesh(plane, operator, size).measure(quick)
            finally:
                operator.kill()
    return rows


def _prepare(plane: ControlPlane) -> None:
    api = plane.admin
    api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for crd in definitions():
        api.create(CRDS, crd)
    _until(lambda: served(api, MESHES) and served(api, NODES), "the definitions are served")
    api.create(f"{OWN}/serviceaccounts", {"metadata": {"name": "operator"}})
    grant(api, "operator", operator_permissions(), {"kind": "ServiceAccount", "name": "operator"})


class _Mesh:
    """One of `size` members on as many nodes that are only objects."""

    def __init__(self, plane: ControlPlane, operator: Operator, size: int) -> None:
        self._plane = plane
        self._operator = operator
        self._size = size
        self._names = [f"node-{index:05d}" for index in range(size)]
        pool = urllib3.PoolManager(
            ca_certs=str(plane.ca),
            cert_file=str(plane.folder / "admin.crt"),
            key_file=str(plane.folder / "admin.key"),
            maxsize=CONNECTIONS,
        )
        self._api = Client(plane.server, pool)

    def measure(self, quick: bool) -> list[Measurement]:
        seconds = QUICK_NEWS_SECONDS if quick else NEWS_SECONDS
        n = f"{self._size:,} members"
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(
                pool.map(
                    lambda i: self._api.create("/api/v1/nodes", _node(i, self._names[i])), range(self._size)
                )
            )
            begun = time.monotonic()
            self._api.create(MESHES, _mesh())
            _until(lambda: self._status().get("desiredNodes") == self._size, "the mesh has all its nodes")
            _until(lambda: self._count() == self._size, "all WgMeshNodes are made")
            made = time.monotonic() - begun
            all_well = NodeReport(
                phase="Joined",
                heard=self._size - 1,
                expected=self._size - 1,
                ready=True,
                ready_reason="Joined",
                ready_since=datetime.now(UTC),
                certificate_not_after=datetime.now(UTC) + timedelta(days=30),
            )
            list(pool.map(lambda name: self._write(name, all_well), self._names))
            full = f"{self._size}/{self._size}"
            _until(lambda: self._status().get("nodes") == full, "all have joined")
            used, moment = self._cpu_seconds(), time.monotonic()
            writes, status_writes = self._spread_news(pool, all_well, seconds)
            share = 100 * (self._cpu_seconds() - used) / (time.monotonic() - moment)
            delays = self._roll_ups(all_well, QUICK_ROLL_UPS if quick else ROLL_UPS)
        most = max(sum(writes[s] for s in range(at, at + 10)) / 10 for at in range(max(1, int(seconds) - 9)))
        return [
            Measurement(f"{n}: WgMeshNodes made", "s", [made]),
            Measurement(
                f"{n}: statuses written while all have news, most in ten seconds",
                "1/s",
                [most],
                reach=f"< {MOST_WRITES:g}",
                reached=most < MOST_WRITES,
            ),
            Measurement(f"{n}: of the WgMesh", "1/s", [status_writes / seconds]),
            Measurement(
                f"{n}: a change summed up in the WgMesh",
                "s",
                delays,
                reach=f"≤ {MOST_ROLL_UP_SECONDS:g} s",
                reached=max(delays) <= MOST_ROLL_UP_SECONDS,
            ),
            Measurement(f"{n}: operator, processor in that time", "%", [share]),
            Measurement(f"{n}: operator, resident memory", "MiB", [self._operator.memory_mib()]),
        ]

    def _spread_news(
        self, pool: ThreadPoolExecutor, before: NodeReport, seconds: float
    ) -> tuple[Counter[int], float]:
        """All hear one peer less: statuses written by second, and how many of the WgMesh."""
        after = replace(before, heard=before.heard - 1)
        turns = _turns(self._names, before, after, seconds)
        version, begun = self._mesh_writes(), time.monotonic()
        written: Counter[int] = Counter()
        waiting: list[Future[None]] = []
        for at, name in turns:
            time.sleep(max(0.0, begun + at - time.monotonic()))
            waiting.append(pool.submit(self._write, name, after))
            written[int(at)] += 1
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
        for write in waiting:
            write.result()
        return written, self._mesh_writes() - version

    def _roll_ups(self, all_well: NodeReport, count: int) -> list[float]:
        """Seconds from a member's status to the summary in the WgMesh's, at random moments."""
        found = []
        chance = random.Random(1)
        for number in range(count):
            time.sleep(chance.uniform(0.0, 4.0))
            links = str(self._status().get("links"))
            self._write(self._names[number], replace(all_well, heard=all_well.heard - 10 - number))
            begun = time.monotonic()
            _until(partial(self._has_other_links, links), "the change is summed up")
            found.append(time.monotonic() - begun)
        return found

    def _has_other_links(self, links: str) -> bool:
        return bool(self._status().get("links") != links)

    def _write(self, name: str, report: NodeReport) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": "WgMeshNode",
            "metadata": {"name": f"{MESH}.{name}"},
            "status": report.to_status(),
        }
        self._api.apply(f"{NODES}/{MESH}.{name}/status", body, "wgmesh-agent")

    def _status(self) -> Json:
        status: Json = self._api.get(f"{MESHES}/{MESH}").get("status") or {}
        return status

    def _count(self) -> int:
        listed = self._api.get(f"{NODES}?limit=1")
        return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount") or 0)

    def _mesh_writes(self) -> float:
        """Writes of WgMesh statuses that the API server has counted."""
        text = self._api.get("/metrics")["text"].decode()
        lines = re.findall(
            r'^apiserver_request_total\{([^}]*resource="wgmeshes"[^}]*)\} (\S+)$', text, re.MULTILINE
        )
        return sum(
            float(count) for labels, count in lines if 'verb="APPLY"' in labels or 'verb="PATCH"' in labels
        )

    def _cpu_seconds(self) -> float:
        assert self._operator._process is not None
        return cpu_seconds(self._operator._process.pid)


def _turns(
    names: Sequence[str], before: NodeReport, after: NodeReport, seconds: float
) -> list[tuple[float, str]]:
    """When each agent writes `after`: what `StatusRateLimiter` says at each tenth of a second, however busy this
    machine is.
    """
    turns = []
    for number, name in enumerate(names):
        calm = StatusRateLimiter(random.Random(number))
        calm.record_written(before, 0.0)
        moments = (tick / 10 for tick in range(int(seconds * 10)))
        turn = next((moment for moment in moments if calm.is_due(after, moment)), None)
        if turn is not None:
            turns.append((turn, name))
    return sorted(turns)


def _mesh() -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "WgMesh",
        "metadata": {"name": MESH},
        "spec": {"cidrs": ["10.232.0.0/16"]},
    }


def _node(index: int, name: str) -> Json:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.{index // 250}.{index % 250}.9"}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Played",
                    "lastTransitionTime": moment,
                    "lastHeartbeatTime": moment,
                }
            ],
        },
    }


def _until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise CannotRun(f"not within {LONGEST_SECONDS:g} s: {what}")
        time.sleep(0.1)
