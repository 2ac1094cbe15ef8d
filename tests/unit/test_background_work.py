"""Every task, thread, timer and handler of agent and operator has an owner that learns of its end: a list of all.

A new one makes this test fail: give the work to `runtime.supervisor` or handle its units inside a fence
(`runtime.borders`), and add its owner here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("node-agent/wgmesh_agent", "operator/wgmesh_operator")
STARTS = frozenset(
    (
        "create_task",
        "ensure_future",
        "call_later",
        "call_at",
        "call_soon",
        "call_soon_threadsafe",
        "add_reader",
        "add_writer",
        "add_signal_handler",
        "Thread",
        "Timer",
        "run_coroutine_threadsafe",
        "start_server",
        "start_unix_server",
        "create_datagram_endpoint",
        "create_server",
        "create_connection",
        "add_done_callback",
        "on_query",
        "run_in_executor",
        "ThreadPoolExecutor",
        "ThreadingHTTPServer",
    )
)
"""Calls after which something runs that no caller awaits."""

AWAITED = "awaited in the same function, with what it raises"
SUPERVISED = "the supervisor itself"
_OWNED: dict[str, tuple[str, ...]] = {
    AWAITED: (
        "wgmesh_agent/agent/run.py:_until_stopped create_task",
        "wgmesh_agent/diagnosis/connectivity.py:check_udp_port create_datagram_endpoint",
        "wgmesh_agent/agent/session.py:Session._until_ended create_task",
        "wgmesh_agent/gossip/aio/streams.py:StreamTransport._read create_task",
        "wgmesh_agent/mesh/join/connection_limiter.py:ConnectionFront._pass_on create_task",
        "wgmesh_agent/kube/health_server.py:HealthServer._metrics run_coroutine_threadsafe",
        "wgmesh_agent/kube/agent.py:KubeAgent._join_mesh_unless_deleted create_task",
        "wgmesh_agent/linux/netlink_thread.py:NetlinkThread.run run_in_executor",
        "wgmesh_operator/executor.py:Executor.in_thread run_in_executor",
    ),
    "sets an event and cannot fail": ("wgmesh_agent/agent/run.py:_signals add_signal_handler",),
    "kept by the agent; what it raises is logged, and the stop comes all the same": (
        "wgmesh_agent/agent/run.py:_signals create_task",
    ),
    "a task set, which hands what they raise to their owner": (
        "wgmesh_agent/runtime/task_set.py:TaskSet.start create_task",
        "wgmesh_agent/runtime/task_set.py:TaskSet.start add_done_callback",
    ),
    "fenced by the gossip node, query by query": ("wgmesh_agent/agent/composition.py:compose on_query",),
    "a task group, in a component of the supervisor": (
        "wgmesh_agent/mesh/dataplane/interface_watch.py:InterfaceWatch.run create_task",
    ),
    "each attempt has a fence of its own": (
        "wgmesh_agent/agent/gossip_joiner.py:GossipJoiner._join create_task",
    ),
    "each request has a fence of its own": (
        "wgmesh_agent/kube/http_server.py:HTTPServer._accept create_task",
    ),
    "lets go of a task whose work is fenced": (
        "wgmesh_agent/kube/http_server.py:HTTPServer._accept add_done_callback",
    ),
    "each datagram has a fence of its own": (
        "wgmesh_agent/mesh/probing/service.py:ProbeService.start create_datagram_endpoint",
        "wgmesh_agent/gossip/aio/node.py:GossipNode._bind add_reader",
    ),
    "ended by the context manager, which looks at its end": (
        "wgmesh_agent/mesh/join/start_conditions.py:Waiting.__aenter__ create_task",
    ),
    "its futures are awaited with a deadline": ("wgmesh_agent/linux/name_resolution.py: ThreadPoolExecutor",),
    "takes the exception of a look-up that was given up": (
        "wgmesh_agent/linux/name_resolution.py:addresses_of add_done_callback",
    ),
    "a value; run by the gossip node, each inside a fence": (
        "wgmesh_agent/gossip/memberlist/timers.py:Timers.at Timer",
    ),
    "each connection has a fence of its own": (
        "wgmesh_agent/gossip/aio/node.py:GossipNode._bind start_server",
        "wgmesh_agent/mesh/join/connection_limiter.py:ConnectionFront._listen add_reader",
        "wgmesh_agent/mesh/join/connection_limiter.py:ConnectionFront._accepted create_task",
        "wgmesh_agent/kube/http_server.py:HTTPServer._until_stopped start_server",
    ),
    "cannot fail: listens again": (
        "wgmesh_agent/mesh/join/connection_limiter.py:ConnectionFront._accept call_later",
    ),
    "closes a connection whose task is fenced": (
        "wgmesh_agent/mesh/join/connection_limiter.py:ConnectionFront._accepted add_done_callback",
    ),
    "each timer has a fence of its own, and the next is armed all the same": (
        "wgmesh_agent/gossip/aio/node.py:GossipNode._arm call_later",
    ),
    "awaited by the writer, which is supervised, also when it is cancelled": (
        "wgmesh_agent/runtime/debounced_writer.py:DebouncedWriter._write ensure_future",
    ),
    "awaited by all who asked for metrics within seconds": (
        "wgmesh_agent/kube/health_server.py:HealthServer._shared_metrics create_task",
    ),
    "its end is noted and shows in the log; started again with the port": (
        "wgmesh_agent/kube/http_server.py:HTTPServer.start Thread",
    ),
    "ends the loop of the thread, which is then joined": (
        "wgmesh_agent/kube/http_server.py:HTTPServer.stop call_soon_threadsafe",
    ),
    "a socket that is made and returned": ("wgmesh_agent/kube/http_server.py:_listening create_server",),
    "outlives any exception: lists again with growing pauses; its age is in readiness": (
        "wgmesh_agent/kube/list_watch.py:ListWatch.__init__ Thread",
    ),
    "each object has a fence of its own": (
        "wgmesh_agent/kube/list_watch.py:ListWatch._deliver call_soon_threadsafe",
    ),
    SUPERVISED: (
        "wgmesh_agent/runtime/supervisor.py:Supervisor.start add_done_callback",
        "wgmesh_agent/runtime/supervisor.py:Supervisor._keep call_later",
    ),
    "sets a future that the supervision awaits": (
        "wgmesh_agent/linux/backends/wireguard_go.py:WireGuardGo.wait_ended add_reader",
    ),
    "outlives any exception: supervision of wireguard-go": (
        "wgmesh_agent/linux/backends/userspace.py:UserspaceBackend.open create_task",
    ),
    "its futures are awaited by who asked": (
        "wgmesh_agent/linux/netlink_thread.py:NetlinkThread.__init__ ThreadPoolExecutor",
    ),
    "its futures are awaited by the worker": (
        "wgmesh_operator/executor.py:Executor.__init__ ThreadPoolExecutor",
    ),
    "the worker; its end fails the liveness probe": (
        "wgmesh_operator/handlers.py:registry.start create_task",
    ),
    "each connection has a fence of its own; ends with the context manager": (
        "wgmesh_operator/probes.py:probe_server Thread",
    ),
}
"""By whose end is learned of how: the calls."""
OWNERS = {work: why for why, works in _OWNED.items() for work in works}


def background_work(package: Path) -> Iterator[str]:
    """`module:function call` of each call that starts something."""
    for path in sorted(package.rglob("*.py")):
        if "lab" in path.relative_to(package).parts:
            continue
        yield from _calls(ast.parse(path.read_text()), path.relative_to(package).as_posix(), ())


def _calls(node: ast.AST, module: str, inside: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _calls(child, module, (*inside, child.name))
            continue
        if isinstance(child, ast.Call):
            called = child.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in STARTS:
                yield f"{module}:{'.'.join(inside)} {name}"
        yield from _calls(child, module, inside)


@pytest.mark.heavy
@pytest.mark.parametrize("package", PACKAGES)
def test_all_background_work_has_an_owner(package: str) -> None:
    prefix = package.rpartition("/")[2]
    found = {f"{prefix}/{work}" for work in background_work(ROOT / package)}
    unowned = sorted(found - set(OWNERS))
    assert not unowned, f"who learns when one of these ends? {unowned}"
    stale = sorted(work for work in OWNERS if work.startswith(f"{prefix}/") and work not in found)
    assert not stale, f"these are gone: {stale}"
    assert all(len(why.split()) >= 3 for why in OWNERS.values())


def test_a_task_that_nobody_owns_is_found() -> None:
    source = "class A:\n    async def run(self):\n        asyncio.create_task(self.work())\n"
    assert list(_calls(ast.parse(source), "a.py", ())) == ["a.py:A.run create_task"]
