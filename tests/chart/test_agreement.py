"""Where the chart repeats what code says: permissions, resource definitions, flags, metrics, pinned packages."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from tests.chart.rendering import CHART, ROOT, Object, objects, of_kind, value_sets, values_flag
from tests.unit.kube.metrics_factories import names

from wgmesh_api.names import MESH_NAME
from wgmesh_api.resources.crd import definitions
from wgmesh_api.roster import SIGNER, agent_service_account
from wgmesh_operator.main import command
from wgmesh_operator.rbac import Permission, Scope, agent_permissions, operator_permissions
from wgmesh_operator.release import before_uninstall, self_check

Rule = tuple[str, str, frozenset[str], tuple[str, ...]]


def granted(role: Object) -> set[Rule]:
    """What a role allows: group, resource, verbs, names."""
    return {
        (group, resource, frozenset(rule["verbs"]), tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def needed(permissions: tuple[Permission, ...], scope: Scope) -> set[Rule]:
    return {(one.group, one.resource, one.verbs, one.names) for one in permissions if one.scope is scope}


def test_the_operator_may_do_what_it_uses_and_no_more() -> None:
    found = objects()
    cluster = of_kind("ClusterRole", found)["wgmesh-operator"]
    roles = {role["metadata"]["namespace"]: role for role in of_kind("Role", found).values()}
    permissions = operator_permissions()
    assert granted(cluster) == needed(permissions, Scope.CLUSTER)
    assert granted(roles["wgmesh-system"]) == needed(permissions, Scope.OWN_NAMESPACE)
    assert granted(roles["default"]) == needed(permissions, Scope.DEFAULT_NAMESPACE)


def test_agents_may_do_what_they_use_and_no_more() -> None:
    role = of_kind("ClusterRole", objects())["wgmesh-agent"]
    assert granted(role) == needed(agent_permissions(), Scope.CLUSTER)


@pytest.mark.parametrize("values", value_sets())
def test_no_role_has_a_wildcard(values: str) -> None:
    found = objects(values_flag(values))
    roles = [*of_kind("ClusterRole", found).values(), *of_kind("Role", found).values()]
    assert len(roles) >= 5
    assert "*" not in json.dumps([role["rules"] for role in roles])


@pytest.mark.parametrize("values", value_sets())
def test_every_binding_binds_a_role_there_is_to_an_account_there_is(values: str) -> None:
    found = objects(values_flag(values))
    accounts = {
        (one["metadata"]["namespace"], name) for name, one in of_kind("ServiceAccount", found).items()
    }
    bindings = [*of_kind("ClusterRoleBinding", found).values(), *of_kind("RoleBinding", found).values()]
    for binding in bindings:
        assert binding["roleRef"]["name"] in of_kind(binding["roleRef"]["kind"], found)
        assert [(one["namespace"], one["name"]) in accounts for one in binding["subjects"]] == [True]
    bound = {one["name"] for binding in bindings for one in binding["subjects"]}
    assert bound == {name for _, name in accounts}


@pytest.mark.parametrize("release", ["wgmesh", "x", "wgmesh-a", "operator"])
@pytest.mark.parametrize("fullname", ["", "wgmesh"])
def test_no_account_of_the_chart_can_be_taken_for_an_agents(release: str, fullname: str) -> None:
    accounts = of_kind("ServiceAccount", objects(f"--set=fullnameOverride={fullname}", release=release))
    agents = re.compile(agent_service_account(f"(?:{MESH_NAME})"))
    assert len(accounts) == 3
    assert [name for name in accounts if agents.fullmatch(name)] == []


def test_the_definitions_are_those_made_from_the_types() -> None:
    found = of_kind("CustomResourceDefinition", objects())
    assert {name: crd["spec"] for name, crd in found.items()} == {
        crd["metadata"]["name"]: crd["spec"] for crd in definitions()
    }


@pytest.mark.parametrize(
    ("flag", "kept"), [("crds.keep=true", {"helm.sh/resource-policy": "keep"}), ("crds.keep=false", None)]
)
def test_definitions_outlive_the_release_unless_asked(flag: str, kept: dict[str, str] | None) -> None:
    found = of_kind("CustomResourceDefinition", objects(f"--set={flag}"))
    assert [crd["metadata"].get("annotations") for crd in found.values()] == [kept, kept]


def test_definitions_can_be_left_out() -> None:
    assert of_kind("CustomResourceDefinition", objects("--set=crds.install=false")) == {}


@pytest.mark.parametrize("values", value_sets())
def test_the_operator_knows_every_variable_it_is_given(values: str) -> None:
    (operator,) = of_kind("Deployment", objects(values_flag(values))).values()
    given = {
        one["name"].removeprefix("WGMESH_OPERATOR_").lower(): one.get("value", "wgmesh-system")
        for one in operator["spec"]["template"]["spec"]["containers"][0]["env"]
        if one["name"].startswith("WGMESH_OPERATOR_")
    }
    arguments = []
    for option in command.params:
        text = given.pop(str(option.name), None)
        if text is None:
            continue
        if getattr(option, "is_flag", False):
            assert text in ("true", "false")
        else:
            arguments += [option.opts[0], text]
    assert given == {}
    command.make_context("wgmesh-operator", arguments)


def arguments_of(container: dict[str, Any], module: str) -> list[str]:
    assert container["command"][:3] == ["python", "-m", module]
    return list(container["command"][3:])


@pytest.mark.parametrize("values", value_sets())
def test_the_hooks_programs_know_every_flag_they_are_given(values: str) -> None:
    found = objects(values_flag(values))
    (job,) = of_kind("Job", found).values()
    (pod,) = of_kind("Pod", found).values()
    hook = arguments_of(job["spec"]["template"]["spec"]["containers"][0], before_uninstall.__name__)
    before_uninstall.main.make_context("before-uninstall", hook)
    test = arguments_of(pod["spec"]["containers"][0], self_check.__name__)
    self_check.main.make_context("release-test", test)


def test_meshes_are_deleted_on_uninstall_only_if_asked() -> None:
    for asked in (False, True):
        found = objects(f"--set=uninstall.deleteMeshes={str(asked).lower()}")
        (job,) = of_kind("Job", found).values()
        assert ("--delete-meshes" in job["spec"]["template"]["spec"]["containers"][0]["command"]) == asked
        (rule,) = of_kind("ClusterRole", found)["wgmesh-uninstall"]["rules"]
        assert ("delete" in rule["verbs"]) == asked


def test_the_policies_are_about_agents_of_this_namespace_and_our_signer() -> None:
    policies = of_kind("ValidatingAdmissionPolicy", objects())
    bindings = of_kind("ValidatingAdmissionPolicyBinding", objects())
    assert set(policies) == {"wgmesh-agent-status", "wgmesh-agent-requests"}
    assert {one["spec"]["policyName"] for one in bindings.values()} == set(policies)
    for policy in policies.values():
        assert policy["spec"]["failurePolicy"] == "Fail"
        (condition,) = policy["spec"]["matchConditions"]
        assert f"'^system:serviceaccount:wgmesh-system:{agent_service_account('')}" in condition["expression"]
        (mesh,) = (one for one in policy["spec"]["variables"] if one["name"] == "mesh")
        (length,) = re.findall(r"\d+", mesh["expression"])
        assert int(length) == len(f"system:serviceaccount:wgmesh-system:{agent_service_account('')}")
    assert f"'{SIGNER}'" in json.dumps(policies["wgmesh-agent-requests"])


def test_the_dashboard_asks_for_metrics_there_are() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    asked = set(
        re.findall(r"wgmesh_\w+", " ".join(one["expr"] for panel in panels for one in panel["targets"]))
    )
    assert len(asked) > 10
    assert asked <= names()


def test_the_dashboard_shows_what_an_agent_suffers_from() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    asked = " ".join(one["expr"] for panel in panels for one in panel["targets"])
    for name in (
        "wgmesh_rejected_input_total",
        "wgmesh_component_up",
        "wgmesh_interface_repairs_total",
        "wgmesh_roster_age_seconds",
    ):
        assert name in asked
    places = [tuple(panel["gridPos"].values()) for panel in panels]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels}) == len(panels)


def pins(path: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / path).read_text(), re.M)
    return {name.replace("_", "-"): version for name, version in found}


def test_the_image_has_the_packages_that_were_tested_here() -> None:
    image, tested = pins("requirements-image.lock"), pins("requirements.lock")
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}


def test_the_image_has_all_that_operator_and_agents_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *extras["kubernetes"], *extras["operator"]]
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower().replace("_", "-") for one in direct}
    assert names <= set(pins("requirements-image.lock"))


def test_an_ordinary_kind_takes_the_configuration_that_the_tests_use() -> None:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]
