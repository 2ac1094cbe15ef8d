"""What the chart makes of values: lint, golden files, and what values it refuses."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.chart.rendering import (
    CHART,
    GOLDEN,
    KUBERNETES,
    helm,
    objects,
    of_kind,
    render,
    value_sets,
    values_flag,
)

from wgmesh_api.version import VERSION

WITHOUT_CRDS = "--set=crds.install=false"
"""They have a test of their own, and would drown the rest."""


@pytest.mark.parametrize("name", value_sets())
def test_the_chart_passes_helm_lint(name: str) -> None:
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), values_flag(name))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", value_sets())
def test_manifests_are_those_of_the_golden_file(name: str) -> None:
    found = render(values_flag(name), WITHOUT_CRDS)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(found)
    assert found == golden.read_text(), "if the change is meant: GOLDEN=write pytest tests/chart"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("operator.helthPort=8080", "helthPort"),
        ("imge.tag=1", "imge"),
        ("image.repository=wgmesh:1", "/image/repository"),
        ("image.repository=", "/image/repository"),
        ("image.digest=sha256:12", "/image/digest"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("operator.healthPort=80", "/operator/healthPort"),
        ("operator.healthPort=high", "/operator/healthPort"),
        ("operator.logFormat=xml", "/operator/logFormat"),
        ("operator.resources.requests.cpu=lots", "/operator/resources/requests/cpu"),
        ("operator.tolerations[0].effect=Never", "/operator/tolerations/0/effect"),
        ("agent.priorityClass.value=2000000000", "/agent/priorityClass/value"),
        ("agent.priorityClass.name=", "/agent/priorityClass/name"),
        ("agent.image=a b", "/agent/image"),
        ("crds.keep=maybe", "/crds/keep"),
        ("networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts/0"),
        ("serviceMonitor.interval=often", "/serviceMonitor/interval"),
        ("uninstall.timeoutSeconds=1", "/uninstall/timeoutSeconds"),
        ("fullnameOverride=Net_Mesh", "/fullnameOverride"),
        ("imagePullSecrets={a,a}", "/imagePullSecrets"),
    ],
)
def test_wrong_values_are_refused_by_name(value: str, words: str) -> None:
    done = helm("template", "wgmesh", str(CHART), "--kube-version", KUBERNETES, "--set", value)
    assert done.returncode != 0
    assert "specifications of the schema" in done.stderr
    assert words in done.stderr


def test_an_old_kubernetes_is_refused() -> None:
    done = helm("template", "wgmesh", str(CHART), "--kube-version", "1.30.9")
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


def test_the_chart_has_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def leaves(values: dict[str, Any], *above: str) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and (*above, key) not in FREE:
            yield from leaves(value, *above, key)
        else:
            yield (*above, key)


FREE = {("operator", "resources"), ("agent", "resources"), ("tunnel", "resources"), ("dashboard", "labels")}
"""Values whose keys are the user's own."""


def all_leaves() -> list[tuple[str, ...]]:
    return list(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_every_value_is_used_by_a_template() -> None:
    templates = "".join(path.read_text() for path in (CHART / "templates").rglob("*.*"))
    unused = [".".join(path) for path in all_leaves() if f"Values.{'.'.join(path)}" not in templates]
    assert unused == []


def test_every_value_has_a_comment_above_it() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    keys = [(number, line) for number, line in enumerate(lines) if re.match(r"\s*[A-Za-z]+:( |$)", line)]
    wanted = {path[-1] for path in all_leaves()}
    free = {"requests", "limits", "cpu", "memory"}
    bare = [
        line.strip()
        for number, line in keys
        if (name := line.split(":")[0].strip()) in wanted
        and name not in free
        and not lines[number - 1].strip().startswith("#")
    ]
    assert bare == []


def test_operators_of_two_releases_have_names_of_their_own() -> None:
    first, second = objects(WITHOUT_CRDS), objects(WITHOUT_CRDS, release="other")
    shared = {(one["kind"], one["metadata"]["name"]) for one in first} & {
        (one["kind"], one["metadata"]["name"]) for one in second
    }
    # Agents' class and role are named in every mesh's objects, so there is one of each in a cluster.
    assert shared == {("ClusterRole", "wgmesh-agent"), ("PriorityClass", "wgmesh-agent")}


def test_pods_of_the_chart_have_no_more_than_they_need() -> None:
    found = objects(WITHOUT_CRDS)
    pods = [
        *(
            one["spec"]["template"]["spec"]
            for kind in ("Deployment", "Job")
            for one in of_kind(kind, found).values()
        ),
        *(one["spec"] for one in of_kind("Pod", found).values()),
    ]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"]


def test_the_operator_is_gone_before_its_successor_comes() -> None:
    (operator,) = of_kind("Deployment", objects(WITHOUT_CRDS)).values()
    assert operator["spec"]["replicas"] == 1
    assert operator["spec"]["strategy"] == {"type": "Recreate"}
