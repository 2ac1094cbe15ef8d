"""What `helm uninstall` runs first (the chart's pre-delete hook).

Without the operator nobody takes a mesh off the nodes. So this refuses while meshes exist, or deletes them if told to,
and waits until those that are on their way out are gone. Run as `python -m wgmesh_operator.release.before_uninstall`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import click

from wgmesh_operator.release.cluster import Cluster, Mesh

POLL_SECONDS = 1.0


class Meshes(Protocol):
    """The meshes of the cluster. Each call raises OSError, with a sentence, if the API server cannot be asked."""

    def meshes(self) -> Sequence[Mesh]: ...

    def delete(self, name: str) -> None: ...


def clear(
    cluster: Meshes,
    *,
    delete: bool,
    seconds: float,
    say: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether no mesh is left, so that the operator may go. Raises OSError.

    Args:
        delete: whether to delete meshes; otherwise one that nobody has deleted is a reason to refuse.
        seconds: how long to wait for meshes to be gone from their nodes.
        say: told what happens, a line a call.
    """
    deadline = now() + seconds
    asked: set[str] = set()
    while left := cluster.meshes():
        staying = [mesh.name for mesh in left if not mesh.leaving]
        if staying and not delete:
            say(_refusal(staying))
            return False
        for name in staying:
            cluster.delete(name)
        fresh = {mesh.name for mesh in left} - asked
        if fresh:
            say(f"Waiting until nodes are clean of {_listed(fresh)}.")
            asked |= fresh
        if now() >= deadline:
            say(_late(seconds, [mesh.name for mesh in left]))
            return False
        sleep(POLL_SECONDS)
    say("No mesh is left: the operator may go.")
    return True


def _refusal(names: Iterable[str]) -> str:
    return (
        f"Refused: there is still {_listed(names)}. Without the operator nobody would take it off the nodes again.\n"
        "First:  kubectl delete wgmeshes --all    then uninstall again.\n"
        "To remove the operator alone and let meshes run on:  helm uninstall --no-hooks …"
    )


def _late(seconds: float, names: Iterable[str]) -> str:
    return (
        f"Refused: after {seconds:g} s there is still {_listed(names)}.\n"
        "See what holds it up:  kubectl describe wgmeshes    and the operator's log. Then uninstall again."
    )


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return f"{'mesh' if len(ordered) == 1 else 'meshes'} {', '.join(ordered)}"


@click.command()
@click.option("--delete-meshes", is_flag=True, help="delete all meshes instead of refusing")
@click.option("--timeout", default=240.0, help="seconds to wait until nodes are clean")
def main(delete_meshes: bool, timeout: float) -> None:
    """Ends with 0 once no mesh is left, with 1 if there is reason not to uninstall."""
    try:
        free = clear(Cluster(), delete=delete_meshes, seconds=timeout, say=click.echo)
    except OSError as error:
        click.echo(f"Refused: {error}")
        sys.exit(1)
    sys.exit(0 if free else 1)


if __name__ == "__main__":
    main()
