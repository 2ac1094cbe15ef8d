"""What the tests measured, printed at their end; and what a failed one leaves to look into."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.kind.release import NAMESPACE

QUESTIONS = {
    "meshes.yaml": ["get", "wgmeshes,wgmeshnodes", "-o", "yaml"],
    "meshes.txt": ["get", "wgmeshes,wgmeshnodes", "-o", "wide"],
    "pods.txt": ["get", "pods", "-A", "-o", "wide"],
    "describe.txt": ["describe", "nodes,wgmeshes,wgmeshnodes"],
    "system.txt": ["describe", "-n", NAMESPACE, "pods,daemonsets,jobs"],
    "events.txt": ["get", "events", "-A", "--sort-by=.lastTimestamp"],
    "requests.txt": ["get", "csr", "-o", "wide"],
}


@dataclass(slots=True)
class Measured:
    """Figures by what they are of."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, what: str, figure: float, unit: str = "s", at_most: float | None = None) -> float:
        """Notes a figure. AssertionError if it is above `at_most`."""
        bound = "" if at_most is None else f"   (at most {at_most:g} {unit})"
        line = f"{what:<72} {figure:8.1f} {unit}{bound}"
        self.lines.append(line)
        print(line)
        assert at_most is None or figure <= at_most, (
            f"{what}: {figure:g} {unit}, more than {at_most:g} {unit}"
        )
        return figure

    def take(self) -> list[str]:
        """What was noted since the last take."""
        taken, self.lines = self.lines, []
        return taken


def keep(test: str) -> Path:
    """Asks the cluster everything worth knowing after a failure; where the answers are."""
    folder = Path(os.environ.get("E2E_LOGS", "build/e2e-logs")) / re.sub(r"\W+", "-", test)
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in QUESTIONS.items():
        (folder / name).write_text(_ask(*arguments))
    for pod in _ask("get", "pods", "-n", NAMESPACE, "-o", "name").split():
        name = pod.partition("/")[2]
        (folder / f"{name}.log").write_text(_ask("logs", "-n", NAMESPACE, pod, "--all-containers"))
        before = _ask("logs", "-n", NAMESPACE, pod, "--all-containers", "--previous")
        if "not found" not in before:
            (folder / f"{name}.before.log").write_text(before)
    return folder


def _ask(*arguments: str) -> str:
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout or done.stderr
