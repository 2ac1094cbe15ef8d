from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.operator.harness import DEPLOYMENT, MemoryApi, cluster_of, mesh_body, mesh_of, settle

from wgmesh_operator.decisions.agent_defaults import AgentDefaults
from wgmesh_operator.decisions.drift import covers, is_applied, with_digest
from wgmesh_operator.decisions.model import Mesh
from wgmesh_operator.decisions.rendering import agent, tunnel

Json = dict[str, Any]


def mesh(annotations: dict[str, str] | None = None, **spec: Any) -> Mesh:
    body = mesh_body(**spec)
    body["metadata"] |= {"uid": "u", "annotations": annotations or {}}
    return mesh_of(body)


def pod(daemon_set: Json) -> Json:
    found: Json = daemon_set["spec"]["template"]["spec"]
    return found


def container(daemon_set: Json) -> Json:
    (found,) = pod(daemon_set)["containers"]
    assert isinstance(found, dict)
    return found


def environment(daemon_set: Json) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container(daemon_set)["env"]}


def test_agents_are_told_the_spec() -> None:
    made = agent.daemon_set(
        mesh(
            wireguard={
                "port": 51820,
                "mtu": 1400,
                "keepalive": 25,
                "backend": "userspace",
                "relays": ["n2", "n1"],
            },
            gossip={"profile": "wan", "port": 7000},
            bootstrap={"port": 6000},
            agent={"metricsPort": 9000, "logFormat": "text", "verbose": True},
        ),
        DEPLOYMENT,
    )
    assert environment(made) == {
        "WGMESH_MESH_NAME": "blue",
        "WGMESH_KUBE_NODE": {"fieldRef": {"fieldPath": "spec.nodeName"}},
        "WGMESH_KUBE_HOST_IP": {"fieldRef": {"fieldPath": "status.hostIP"}},
        "WGMESH_KUBE_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "WGMESH_WIREGUARD_LISTEN_PORT": "51820",
        "WGMESH_BACKEND": "userspace",
        "WGMESH_MTU": "1400",
        "WGMESH_KEEPALIVE": "25",
        "WGMESH_RELAYS": "n2,n1",
        "WGMESH_GRPC_BIND_PORT": "6000",
        "WGMESH_GOSSIP_PORT": "7000",
        "WGMESH_PROFILE": "wan",
        "WGMESH_METRICS_PORT": "9000",
        "WGMESH_STATE_DIR": "/var/lib/wgmesh",
        "WGMESH_AGENT_BIND_SOCKET": "/run/wgmesh/blue.sock",
        "WGMESH_AGENT_SOCKET": "/run/wgmesh/blue.sock",
        "WGMESH_LOG_FORMAT": "text",
        "WGMESH_VERBOSE": "true",
    }
    assert container(made)["command"] == ["wgmesh-agent", "kube"]
    assert pod(made)["hostNetwork"] is True
    assert pod(made)["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert pod(made)["serviceAccountName"] == "wgmesh-blue"


def test_nothing_that_has_the_port_of_an_agents_metrics_gets_the_agent_restarted() -> None:
    container = agent.daemon_set(mesh(), DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert not {"startupProbe", "livenessProbe"} & container.keys()


def test_what_the_spec_leaves_open_the_operator_was_told() -> None:
    told = AgentDefaults(
        "ns",
        "registry.test/wgmesh:1",
        "Always",
        ("pull",),
        priority_class="system-node-critical",
        agent_resources={"requests": {"memory": "64Mi"}},
        tunnel_resources={"requests": {"cpu": "90m"}},
    )
    assert container(tunnel.daemon_set(mesh(), told, None))["resources"] == {"requests": {"cpu": "90m"}}
    made = agent.daemon_set(mesh(), told)
    assert container(made)["image"] == "registry.test/wgmesh:1"
    assert container(made)["imagePullPolicy"] == "Always"
    assert container(made)["resources"] == {"requests": {"memory": "64Mi"}}
    assert pod(made)["priorityClassName"] == "system-node-critical"
    assert pod(made)["imagePullSecrets"] == [{"name": "pull"}]
    own = {
        "image": "own:2",
        "imagePullPolicy": "Never",
        "priorityClassName": "mine",
        "resources": {"limits": {"memory": "128Mi", "cpu": 1}},
    }
    made = agent.daemon_set(mesh(agent=own), told)
    assert container(made)["image"] == "own:2"
    assert container(made)["imagePullPolicy"] == "Never"
    assert container(made)["resources"] == {"limits": {"memory": "128Mi", "cpu": 1}}
    assert pod(made)["priorityClassName"] == "mine"


@pytest.mark.parametrize("render", [agent.daemon_set, lambda m, d: tunnel.daemon_set(m, d, None)])
def test_without_privilege_it_is_two_capabilities_and_a_tun_device(render: Any) -> None:
    made = render(mesh(agent={"privileged": False}), DEPLOYMENT)
    context = container(made)["securityContext"]
    assert context["privileged"] is False
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    mounts = [mount["mountPath"] for mount in container(made)["volumeMounts"]]
    assert "/dev/net/tun" in mounts
    assert {"name": "tun", "hostPath": {"path": "/dev/net/tun", "type": "CharDevice"}} in pod(made)["volumes"]
    privileged = render(mesh(), DEPLOYMENT)
    assert container(privileged)["securityContext"]["privileged"] is True
    assert "/dev/net/tun" not in [mount["mountPath"] for mount in container(privileged)["volumeMounts"]]


@pytest.mark.parametrize("render", [agent.daemon_set, lambda m, d: tunnel.daemon_set(m, d, None)])
def test_every_volume_is_mounted_and_every_mount_has_a_volume(render: Any) -> None:
    made = render(mesh(agent={"privileged": False}), DEPLOYMENT)
    volumes = {volume["name"] for volume in pod(made)["volumes"]}
    assert {mount["name"] for mount in container(made)["volumeMounts"]} == volumes


def test_two_meshes_have_nothing_in_common() -> None:
    body = mesh_body("red")
    body["metadata"]["uid"] = "v"
    blue, red = agent.daemon_set(mesh(), DEPLOYMENT), agent.daemon_set(mesh_of(body), DEPLOYMENT)
    assert blue["metadata"]["name"] != red["metadata"]["name"]
    assert blue["spec"]["selector"] != red["spec"]["selector"]
    assert (
        agent.daemon_set(mesh(), DEPLOYMENT)["spec"]["selector"]
        != tunnel.daemon_set(mesh(), DEPLOYMENT, None)["spec"]["selector"]
    )


def test_selectors_match_their_pods() -> None:
    for made in (agent.daemon_set(mesh(), DEPLOYMENT), tunnel.daemon_set(mesh(), DEPLOYMENT, None)):
        labels = made["spec"]["template"]["metadata"]["labels"]
        assert made["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_new_image_does_not_touch_running_tunnels() -> None:
    api = cluster_of()
    settle(api)
    mesh_object = api.get("WgMesh", "blue")
    assert mesh_object is not None
    mesh_object["spec"]["agent"] = {"image": "wgmesh:2"}
    settle(api)
    for name, strategy in (("wgmesh-blue", "RollingUpdate"), ("wgmesh-blue-tunnel", "OnDelete")):
        body = api.get("DaemonSet", name)
        assert body is not None
        assert container(body)["image"] == "wgmesh:2"
        assert body["spec"]["updateStrategy"]["type"] == strategy


def tunnels(api: MemoryApi) -> Json:
    body = api.get("DaemonSet", "wgmesh-blue-tunnel")
    assert body is not None
    return body


def test_tunnels_are_restarted_one_by_one_when_asked_and_left_alone_afterwards() -> None:
    api = cluster_of()
    settle(api)
    mesh_object = api.get("WgMesh", "blue")
    assert mesh_object is not None
    mesh_object["metadata"]["annotations"] = {"wgmesh.dev/restart-tunnels": "1"}
    settle(api)
    assert tunnels(api)["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1},
    }
    counts = {"desiredNumberScheduled": 3, "numberAvailable": 3, "updatedNumberScheduled": 2}
    generation = tunnels(api)["metadata"]["generation"]
    tunnels(api)["status"] = counts | {"observedGeneration": generation}
    settle(api)
    assert tunnels(api)["spec"]["updateStrategy"]["type"] == "RollingUpdate"
    tunnels(api)["status"] = counts | {"observedGeneration": generation, "updatedNumberScheduled": 3}
    settle(api)
    assert tunnels(api)["spec"]["updateStrategy"]["type"] == "OnDelete"
    settle(api)
    assert tunnels(api)["spec"]["updateStrategy"]["type"] == "OnDelete"


@pytest.mark.parametrize(
    ("wanted", "live", "is_covered"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ({"a": {}}, {}, True),
        ({"a": []}, {}, True),
        ({"a": [1]}, {"a": [1, 2]}, False),
        ([{"a": 1}], [{"a": 1, "default": True}], True),
        ({"cpu": "0.5"}, {"cpu": "500m"}, True),
        ({"cpu": 1}, {"cpu": "1"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1G"}, {"memory": "1Gi"}, False),
        ({"flag": True}, {"flag": 1}, True),
        ({"flag": True}, {"flag": False}, False),
        ({"name": "a"}, {"name": None}, False),
    ],
)
def test_what_the_server_adds_is_no_drift(wanted: Any, live: Any, is_covered: bool) -> None:
    assert covers(wanted, live) is is_covered


def test_any_change_to_what_was_applied_is_drift() -> None:
    wanted = agent.daemon_set(mesh(), DEPLOYMENT)
    assert is_applied(wanted, copy.deepcopy(wanted))
    assert not is_applied(wanted, None)

    def leaves(node: Any, path: tuple[Any, ...] = ()) -> Any:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        if not items:
            yield path
        for key, value in items:
            yield from leaves(value, (*path, key))

    for path in leaves(wanted):
        live = copy.deepcopy(wanted)
        parent: Any = live
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = "changed"
        assert not is_applied(wanted, live), path


def test_what_is_wanted_no_more_is_drift() -> None:
    before = with_digest({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    after = with_digest({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert not is_applied(after, before)
