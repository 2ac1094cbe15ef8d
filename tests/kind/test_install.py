"""The chart on a real cluster: what `helm install` makes, what the API server then accepts, refuses and shows."""

from __future__ import annotations

import subprocess
import time

import pytest
from tests.kind.evidence import Measured
from tests.kind.kubectl import KubectlError, apply, get, items, kubectl
from tests.kind.meshes import mesh_body
from tests.kind.release import NAME, NAMESPACE, Release, helm


def test_the_chart_installs_and_its_operator_is_ready(images: tuple[str, str], measured: Measured) -> None:
    made = Release(images[0])
    if helm("list", "-n", NAMESPACE, "-q").stdout.strip():
        made.uninstall("--no-hooks")
    began = time.monotonic()
    made.install()
    measured("helm install until the operator is ready", time.monotonic() - began, at_most=60)
    (pod,) = made.operator_pods()
    assert pod["status"]["containerStatuses"][0]["ready"]


def test_the_image_is_as_small_as_the_readme_says(images: tuple[str, str], measured: Measured) -> None:
    done = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", images[0]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    measured("size of the image", int(done.stdout) / 1e6, "MB", at_most=290)


def test_both_resources_are_there_with_their_short_names(release: Release) -> None:
    for plural, short in (("wgmeshes", "wgm"), ("wgmeshnodes", "wgmn")):
        crd = get("crd", f"{plural}.wgmesh.dev")
        assert crd is not None
        assert short in crd["spec"]["names"]["shortNames"]
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert kubectl("get", short) == ""


def test_the_api_accepts_a_mesh(release: Release) -> None:
    assert "created" in apply(mesh_body("blue"), "--dry-run=server")


@pytest.mark.parametrize(
    ("name", "cidrs", "words"),
    [
        ("blue", ["10.232.0.1/16"], "host bits"),
        ("blue", ["ten"], "10.232.0.0/16"),
        ("blue", ["10.232.0.0/16", "10.233.0.0/16"], "one IPv4 and one IPv6"),
        ("much-too-long-a-name", ["10.232.0.0/16"], "1 to 10"),
    ],
)
def test_the_api_refuses_a_wrong_mesh_and_says_what_to_write(
    release: Release, name: str, cidrs: list[str], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        apply(mesh_body(name, *cidrs), "--dry-run=server")


def test_the_operator_has_no_more_than_it_needs_of_its_node(release: Release) -> None:
    (pod,) = items("pods", labels="app.kubernetes.io/component=operator", namespace=NAMESPACE)
    security = pod["spec"]["containers"][0]["securityContext"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_helm_test_passes(release: Release) -> None:
    done = release.test()
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_notes_say_the_next_command(release: Release) -> None:
    notes = helm("get", "notes", NAME, "-n", NAMESPACE).stdout
    assert "kubectl apply -f -" in notes
    assert "kubectl wait wgmesh/blue --for=condition=FullyMeshed" in notes
    assert f"helm uninstall {NAME} -n {NAMESPACE}" in notes
