"""Whatever may go wrong around a mesh, brought about: agents killed, links cut, operator and API server away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.kind.kubectl import kubectl, wait_for
from tests.kind.meshes import HEALTH_PORT, WIREGUARD_PORT, Mesh
from tests.kind.nodes import Node
from tests.kind.pod_lifetimes import container
from tests.kind.processes import AGENT, process, processes
from tests.kind.release import NAMESPACE, OPERATOR, Release

DOWN_SECONDS = 60
UP_SECONDS = 120
_MANIFEST, _AWAY = "/etc/kubernetes/manifests/kube-apiserver.yaml", "/root/kube-apiserver.yaml"
_REFUSED = 7
"""curl's exit status without a listener."""
_CUT = """
add table inet e2e_cut
add chain inet e2e_cut to {{ type filter hook output priority 0; policy accept; }}
add chain inet e2e_cut from {{ type filter hook input priority 0; policy accept; }}
add rule inet e2e_cut {chain} ip {end} {peer} udp dport {port} counter drop
"""
_ENDS = {"to": "daddr", "from": "saddr"}


def agent_is_ready(node: Node) -> bool:
    """Response to the kubelet's probe, requested without Kubernetes."""
    return node.run("curl", "-sf", f"http://127.0.0.1:{HEALTH_PORT}/readyz", check=False).returncode == 0


def kill_agent(node: Node, made: Mesh) -> Callable[[], bool]:
    """SIGKILL; answers with whether another one is there and has joined."""
    old = process(node, AGENT, made.name)
    old.kill()

    def is_back() -> bool:
        found = processes(node, AGENT, made.name)
        return bool(found) and old not in found and agent_is_ready(node)

    return is_back


def kubelet_is_up(node: Node) -> bool:
    """By its own health endpoint, which is up before it reports the node ready to the API server."""
    return node.inside("curl", "-sf", "http://127.0.0.1:10248/healthz", check=False).returncode == 0


@contextmanager
def cutting(node: Node) -> Iterator[Callable[[str, Node], None]]:
    """Gives what drops the node's WireGuard packets "to" or "from" another; all is let through after the block."""

    def cut(direction: str, peer: Node) -> None:
        rules = _CUT.format(chain=direction, end=_ENDS[direction], peer=peer.underlay(), port=WIREGUARD_PORT)
        node.run("nft", "-f", "-", stdin=rules)

    try:
        yield cut
    finally:
        node.run("nft", "delete", "table", "inet", "e2e_cut", check=False)


def scale_operator(replicas: int, release: Release) -> None:
    """Back when as many are there and ready, and no other is."""
    kubectl("scale", "deployment", "-n", NAMESPACE, "-l", OPERATOR, f"--replicas={replicas}")
    wait_for(
        lambda: (
            len(release.operator_pods()) == replicas
            and all(container(pod).get("ready") for pod in release.operator_pods())
        ),
        UP_SECONDS,
        f"{replicas} operators",
    )


@contextmanager
def no_api_server(control_plane: Node) -> Iterator[None]:
    """Its manifest is hidden from the kubelet, and no process listens on its port; restored, and healthy, after the
    block.
    """

    def is_gone() -> bool:
        return _asked(control_plane) == _REFUSED

    control_plane.inside("mv", _MANIFEST, _AWAY)
    try:
        wait_for(is_gone, DOWN_SECONDS, "the API server is down")
        yield
        assert is_gone()
    finally:
        control_plane.inside("mv", _AWAY, _MANIFEST)
        wait_for(lambda: _asked(control_plane) == 0, UP_SECONDS, "the API server is back")


def _asked(control_plane: Node) -> int:
    """curl's exit status: 0 if the API server says that it is well."""
    url = "https://127.0.0.1:6443/readyz"
    return control_plane.inside("curl", "-skf", "-m", "5", url, check=False).returncode
