"""The chart on the cluster under test, through `helm`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kind.kubectl import Object, items

CHART = Path(__file__).resolve().parents[2] / "charts" / "wgmesh"
NAME = "wgmesh"
NAMESPACE = "wgmesh-system"
OPERATOR = "app.kubernetes.io/name=wgmesh,app.kubernetes.io/component=operator"
HELM_SECONDS = 120


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs helm to its end. AssertionError with its words if it fails and must not."""
    done = subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=330, check=False)
    assert not check or done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr.strip()}"
    return done


@dataclass(frozen=True, slots=True)
class Release:
    """One installation; `image` is what the operator runs, and agents too."""

    image: str

    def install(self, *values: str, image: str | None = None) -> None:
        """`helm upgrade --install`, back when the operator is ready. `values` are `key=value`."""
        repository, _, tag = (image or self.image).rpartition(":")
        settings = [f"image.repository={repository}", f"image.tag={tag}", *values]
        helm(
            "upgrade",
            "--install",
            NAME,
            str(CHART),
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
            f"--timeout={HELM_SECONDS}s",
            *[part for value in settings for part in ("--set", value)],
        )

    def uninstall(self, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return helm("uninstall", NAME, "--namespace", NAMESPACE, "--timeout=300s", *flags, check=check)

    def test(self) -> subprocess.CompletedProcess[str]:
        """`helm test`, whatever its outcome."""
        return helm("test", NAME, "--namespace", NAMESPACE, "--timeout=120s", check=False)

    def operator_pods(self) -> list[Object]:
        """Those that are not ending."""
        found = items("pods", labels=OPERATOR, namespace=NAMESPACE)
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
