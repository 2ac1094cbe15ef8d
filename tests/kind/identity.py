"""Requests to the API server under another identity: a service account's own token, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kind.kubectl import kubectl


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    ok: bool
    words: str


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity with a token; `folder` is for its files."""

    token: str
    folder: Path

    def ask(self, *arguments: str, stdin: Mapping[str, Any] | None = None) -> Answer:
        """Runs kubectl with this token alone."""
        done = subprocess.run(
            ["kubectl", f"--token={self.token}", *arguments],
            input=json.dumps(stdin) if stdin is not None else None,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "KUBECONFIG": str(self._config())},
            check=False,
        )
        return Answer(done.returncode == 0, (done.stdout + done.stderr).strip())

    def claims(self) -> dict[str, Any]:
        """What the token says of its holder."""
        body = self.token.split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return found

    def _config(self) -> Path:
        """Where the API server is, without the administrator's credentials, which would win over the token."""
        path = self.folder / "kubeconfig"
        if not path.exists():
            whole = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
            context = {"name": "c", "context": {"cluster": whole["clusters"][0]["name"], "user": "nobody"}}
            bare = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": whole["clusters"],
                "contexts": [context],
                "current-context": "c",
            }
            path.write_text(json.dumps(bare))
        return path


def service_account(name: str, namespace: str, folder: Path, *, pod: str | None = None) -> Identity:
    """A service account, by a fresh token; bound to a pod, and so to its node, as those that pods get."""
    bound = [] if pod is None else ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
    return Identity(kubectl("create", "token", name, "-n", namespace, *bound).strip(), folder)
