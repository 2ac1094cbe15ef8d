"""A failed test of a whole mesh shows what its agents said."""

from collections.abc import Generator
from typing import Any

import pytest
from tests.netns import mesh_ground

_SHOWN_CHARACTERS = 6000


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for network in mesh_ground.LIVE:
            for log in sorted(network.folder.glob("*.log")):
                text = log.read_text(errors="replace")[-_SHOWN_CHARACTERS:]
                report.sections.append((f"the agent's {log.name}", text))
