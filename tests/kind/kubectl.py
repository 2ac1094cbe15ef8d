"""The cluster under test, through `kubectl`, the program people use."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wgmesh_agent.lab.agent import until
from wgmesh_agent.lab.command import LabError

CALL_SECONDS = 60
LOOK_SECONDS = 0.2
"""Pause between two polls: kubectl is a large program, and the cluster needs the machine too."""
Object = dict[str, Any]


class KubectlError(AssertionError):
    """kubectl ended with an error; `words` is what it said."""

    def __init__(self, arguments: Sequence[str], words: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {words}")
        self.words = words


def kubectl(*arguments: str, stdin: str | None = None, seconds: float = CALL_SECONDS) -> str:
    """What kubectl prints. Raises KubectlError."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode != 0:
        raise KubectlError(arguments, done.stderr.strip())
    return done.stdout


def get(kind: str, name: str, namespace: str | None = None) -> Object | None:
    """One object, None if there is none. Raises KubectlError."""
    found = kubectl("get", kind, name, "-o", "json", "--ignore-not-found", *_in(namespace))
    return json.loads(found) if found else None


def items(kind: str, *, labels: str = "", namespace: str | None = None) -> list[Object]:
    """All objects of a kind, or those with these labels. Raises KubectlError."""
    selector = ["-l", labels] if labels else []
    found: list[Object] = json.loads(kubectl("get", kind, "-o", "json", *selector, *_in(namespace)))["items"]
    return found


def table(*arguments: str) -> list[dict[str, str]]:
    """What `kubectl get` shows to people, a row at a time, by column. Raises KubectlError."""
    head, *rows = (line.split() for line in kubectl("get", *arguments).splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def apply(body: Mapping[str, Any], *flags: str) -> str:
    """Creates or changes an object as a person would. Raises KubectlError with the API server's words."""
    return kubectl("apply", "-f", "-", *flags, stdin=json.dumps(body))


def delete(kind: str, name: str, *, namespace: str | None = None, seconds: float = CALL_SECONDS) -> None:
    """Deletes an object and waits until it is deleted; a missing one is no error. Raises KubectlError."""
    kubectl(
        "delete",
        kind,
        name,
        "--ignore-not-found",
        f"--timeout={seconds:g}s",
        *_in(namespace),
        seconds=seconds + 10,
    )


def condition(body: Object | None, kind: str) -> Object:
    """The condition of this type in an object's status; empty if it has none."""
    conditions = ((body or {}).get("status") or {}).get("conditions") or []
    return next((found for found in conditions if found["type"] == kind), {})


def wait_for(
    look: Callable[[], Any], seconds: float, what: str, show: Callable[[], object] | None = None
) -> Any:
    """What `look` sees once it sees something. AssertionError after `seconds`, with what `show` sees then.

    A key that an object does not have yet is waited for like anything else.
    """

    def words() -> str:
        return what if show is None else f"{what}; now: {show()}"

    def once() -> Any:
        try:
            return look() or None
        except KeyError:
            return None
        except KubectlError as error:
            if "was refused" in error.words or "i/o timeout" in error.words or "EOF" in error.words:
                return None
            raise

    try:
        return until(once, seconds, words, every=LOOK_SECONDS)
    except LabError as error:
        raise AssertionError(str(error)) from error


def _in(namespace: str | None) -> list[str]:
    return ["-n", namespace] if namespace else []
