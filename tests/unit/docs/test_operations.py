"""The pages on operating a mesh name what exists: metrics, ports, objects, annotations, files they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.unit.kube.metrics_factories import names as metric_names

from wgmesh_agent.diagnosis.finding import Code
from wgmesh_api.resources.mesh import WgMeshSpec
from wgmesh_operator.decisions import names

ROOT = Path(__file__).parents[3]
PAGES = ["install", "operations", "key-rotation", "networking", "monitoring", "troubleshooting"]
TEXT = "\n".join((ROOT / "docs" / f"{page}.md").read_text() for page in PAGES)
CHART = yaml.safe_load((ROOT / "charts" / "wgmesh" / "Chart.yaml").read_text())
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_metric_is_explained_and_no_other() -> None:
    table = set(re.findall(r"^\| `(wgmesh_\w+)", TEXT, re.M))
    assert table == metric_names()
    assert set(re.findall(r"\bwgmesh_\w+", TEXT)) <= metric_names()


def test_everything_that_doctor_finds_is_explained() -> None:
    (table,) = re.findall(r"^\| code \|[^\n]*\n((?:\|[^\n]*\n)+)", TEXT, re.M)
    explained = {
        code for row in table.splitlines()[1:] for code in re.findall(r"`(\w+)`", row.split(" | ")[0])
    }
    assert explained == {code.value for code in Code}


def test_the_example_of_a_second_mesh_shares_no_port_with_the_first() -> None:
    (example,) = [
        body for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S) if (body := yaml.safe_load(block))
    ]
    first, second = (
        WgMeshSpec.model_validate({"cidrs": ["10.232.0.0/16"]}),
        WgMeshSpec.model_validate(example["spec"]),
    )

    def ports(spec: WgMeshSpec) -> set[int]:
        return {spec.wireguard.port, spec.bootstrap.port, spec.agent.metrics_port}

    assert not ports(first) & ports(second)
    assert not set(first.cidrs) & set(second.cidrs)
    assert all(f"{port}/" in TEXT for port in ports(first))


def test_objects_are_called_as_the_operator_calls_them() -> None:
    known = {
        names.ca_secret("blue"),
        names.gossip_secret("blue"),
        names.join_secret("blue", "laptop"),
        names.agent_daemon_set("blue"),
        names.tunnel_daemon_set("blue"),
        names.psk_secret("blue"),
    }
    assert set(re.findall(r"\bwgmesh-blue[a-z-]*", TEXT)) == known
    assert names.ROTATE_CA in TEXT
    assert names.RESTART_TUNNELS in TEXT


def test_the_oldest_kubernetes_is_the_charts() -> None:
    (least,) = re.findall(r"^>=(\d+\.\d+)\.0-0$", CHART["kubeVersion"])
    assert f"Kubernetes {least} or newer" in TEXT
    assert f"Kubernetes {least} or newer" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["docs/install.md", "README.md"])
def test_the_image_that_is_built_is_the_one_the_chart_asks_for(name: str) -> None:
    text = (ROOT / name).read_text()
    values = yaml.safe_load((ROOT / "charts" / "wgmesh" / "values.yaml").read_text())
    image = f"{values['image']['repository']}:{values['image']['tag'] or CHART['appVersion']}"
    assert f"docker build -t {image} ." in text
    assert f"kind load docker-image {image}" in text


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    without_code = re.sub(r"```.*?```|`[^`\n]*`", "code", document.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name) if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == pages
