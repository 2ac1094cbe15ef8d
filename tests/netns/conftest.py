"""A failed test of a whole mesh shows what its agents said."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.netns import mesh_harness


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--host-seeds", type=int, default=3, help="how many hosts are made by chance (tests/netns)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "host_seed" in metafunc.fixturenames:
        metafunc.parametrize("host_seed", range(1, metafunc.config.getoption("--host-seeds") + 1))


_SHOWN_CHARACTERS = 6000
_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_NEEDED_INSTANCES = 1024


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for network in mesh_harness.LIVE:
            for log in sorted(network.folder.glob("*.log")):
                text = log.read_text(errors="replace")[-_SHOWN_CHARACTERS:]
                report.sections.append((f"the agent's {log.name}", text))


@pytest.fixture(scope="session", autouse=True)
def _enough_watchers() -> None:
    """Every wireguard-go uses an inotify instance, of which root has 128 by default."""
    if int(_INSTANCES.read_text()) < _NEEDED_INSTANCES:
        _INSTANCES.write_text(str(_NEEDED_INSTANCES))
