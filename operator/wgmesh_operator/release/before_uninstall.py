"""The first step of `helm uninstall` (the chart's pre-delete hook).

Without the operator no program removes a mesh from the nodes. So this refuses while meshes exist, or deletes them on
request, and waits until those being deleted are removed. Run as `python -m wgmesh_operator.release.before_uninstall`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import click

from wgmesh_operator.release.api_client import Mesh, ReleaseApi

POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Release:
    """Helm's name of this installation."""

    name: str
    namespace: str
    revision: int

    @property
    def keep(self) -> str:
        """The command that repairs Helm's record: a refused uninstall leaves it as `uninstalling`."""
        return f"helm rollback {self.name} {self.revision} -n {self.namespace}"

    def __str__(self) -> str:
        return f"{self.name} -n {self.namespace}"


class Meshes(Protocol):
    """The meshes of the cluster. Each call raises OSError, with a sentence, if the API server cannot be queried."""

    def meshes(self) -> Sequence[Mesh]: ...

    def delete(self, name: str) -> None: ...


def remove_meshes(
    cluster: Meshes,
    *,
    delete: bool,
    seconds: float,
    release: Release,
    say: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether no mesh is left, so that the operator may be removed. Raises OSError.

    Args:
        delete: whether to delete meshes; otherwise one that is not being deleted is a reason to refuse.
        seconds: how long to wait for meshes to be removed from their nodes.
        release: named in instructions to people.
        say: receives the progress, a line per call.
    """
    deadline = now() + seconds
    asked: set[str] = set()
    while left := cluster.meshes():
        staying = [mesh.name for mesh in left if not mesh.leaving]
        if staying and not delete:
            say(_refusal(staying, release))
            return False
        for name in staying:
            cluster.delete(name)
        fresh = {mesh.name for mesh in left} - asked
        if fresh:
            say(f"Waiting until {_listed(fresh)} is removed from all nodes.")
            asked |= fresh
        if now() >= deadline:
            say(_late(seconds, [mesh.name for mesh in left], release))
            return False
        sleep(POLL_SECONDS)
    say("No mesh is left: the operator can be removed.")
    return True


def _refusal(names: Iterable[str], release: Release) -> str:
    return (
        f"Refused: there is still {_listed(names)}. Without the operator no program removes them from the "
        f"nodes.\n  To remove all:  kubectl delete wgmeshes --all && helm uninstall {release}\n  To remove the "
        f"operator only, while nodes stay meshed:  helm uninstall {release} --no-hooks\n  To keep it:  "
        f"{release.keep}"
    )


def _late(seconds: float, names: Iterable[str], release: Release) -> str:
    return (
        f"Refused: after {seconds:g} s there is still {_listed(names)}.\n  To find the cause:  kubectl describe "
        f"wgmeshes,wgmeshnodes    (and the operator's log)\n  To continue then:  helm uninstall {release}\n  To "
        f"keep it:  {release.keep}"
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"{'mesh' if len(ordered) == 1 else 'meshes'} {', '.join(ordered)}"


@click.command()
@click.option("--delete-meshes", is_flag=True, help="delete all meshes instead of refusing")
@click.option("--timeout", default=240.0, help="seconds to wait until meshes are removed from all nodes")
@click.option("--release", required=True, help="Helm's name of this installation")
@click.option("--namespace", required=True, help="its namespace")
@click.option("--revision", type=int, required=True, help="its revision")
def main(delete_meshes: bool, timeout: float, release: str, namespace: str, revision: int) -> None:
    """Ends with 0 once no mesh is left, with 1 if there is a reason not to uninstall."""
    own = Release(release, namespace, revision)
    try:
        free = remove_meshes(ReleaseApi(), delete=delete_meshes, seconds=timeout, release=own, say=click.echo)
    except OSError as error:
        click.echo(f"Refused: {error}")
        sys.exit(1)
    sys.exit(0 if free else 1)


if __name__ == "__main__":
    main()
