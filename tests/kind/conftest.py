"""The clusters that `tests/kind/run` made, one a worker of pytest's, the chart on them, and what failures leave."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from tests.kind.evidence import Measured, keep
from tests.kind.nodes import Node, cluster_nodes
from tests.kind.release import Release

MEASURED = Measured()

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and (folder := os.environ.get("E2E_KUBECONFIGS")):
    os.environ["KUBECONFIG"] = f"{folder}/kubeconfig-{worker}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.user_properties += [("measured", line) for line in MEASURED.take()]
    on_a_cluster = "images" in getattr(item, "fixturenames", ()) and "E2E_IMAGE" in os.environ
    if report.when in ("setup", "call") and report.failed and on_a_cluster:
        report.sections.append(("the cluster", f"kept in {keep(item.nodeid.partition('::')[2])}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    lines = [line for name, line in properties if name == "measured"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def measured() -> Measured:
    """Notes a figure, and fails if it is above its bound."""
    return MEASURED


@pytest.fixture(scope="session")
def images() -> tuple[str, str]:
    """The image under test, and the one to upgrade to."""
    image = os.environ.get("E2E_IMAGE")
    assert image, "these tests need a cluster: tests/kind/run makes one and runs them (or `make e2e`)"
    return image, os.environ.get("E2E_NEXT_IMAGE", image)


@pytest.fixture(scope="session")
def nodes(images: tuple[str, str]) -> list[Node]:
    """The cluster's nodes, the control plane first."""
    return cluster_nodes()


@pytest.fixture(scope="session")
def release(images: tuple[str, str]) -> Iterator[Release]:
    """The chart, installed once; meshes come and go."""
    made = Release(images[0])
    made.install()
    yield made
    made.uninstall("--no-hooks")
