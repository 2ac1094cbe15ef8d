"""The chart as `helm` renders it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "wgmesh"
VALUES = Path(__file__).parent / "values"
GOLDEN = Path(__file__).parent / "golden"
NAMESPACE = "wgmesh-system"
# Without it helm takes the version its library was made for.
KUBERNETES = "1.36.0"
Object = dict[str, Any]


@cache
def program() -> str:
    """A helm: on the PATH, from the cache, or built into it (a minute or two, once)."""
    cached = Path(os.environ.get("KIND_CACHE", "/var/cache/kind-local")) / "bin" / "helm"
    found = shutil.which("helm") or (str(cached) if cached.exists() else None)
    if found is None:
        prepare = ROOT / "tests" / "kind" / "cluster" / "prepare"
        done = subprocess.run([prepare, "helm"], stdout=subprocess.PIPE, text=True, check=True)
        found = done.stdout.strip().splitlines()[-1]
    return found


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm to its end, whatever its outcome; without a cluster."""
    without = {"KUBECONFIG": os.devnull}
    return subprocess.run(
        [program(), *arguments], capture_output=True, text=True, env={**os.environ, **without}, check=False
    )


def render(*flags: str, release: str = "wgmesh") -> str:
    """The manifests as text. AssertionError with helm's words if they cannot be made."""
    done = helm(
        "template", release, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *flags
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*flags: str, release: str = "wgmesh") -> list[Object]:
    """The manifests as objects, hooks and all."""
    return [found for found in yaml.safe_load_all(render(*flags, release=release)) if found]


def of_kind(kind: str, found: list[Object]) -> dict[str, Object]:
    """Those of one kind, by name."""
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def value_sets() -> list[str]:
    return sorted(path.stem for path in VALUES.glob("*.yaml"))


def values_flag(name: str) -> str:
    return f"--values={VALUES / name}.yaml"
