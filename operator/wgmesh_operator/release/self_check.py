"""What `helm test` runs: whether this release can do its work, and what every mesh says of itself.

Run as `python -m wgmesh_operator.release.self_check`.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Protocol

import click

from wgmesh_operator.release.api_client import Mesh, ReleaseApi

ANSWER_SECONDS = 10


class ClusterFacts(Protocol):
    """What is looked at. Each call raises OSError, with a sentence, if the API server cannot be asked."""

    def meshes(self) -> Sequence[Mesh]: ...

    def has_members(self) -> bool: ...

    def has_policy(self, name: str) -> bool: ...


def failed_checks(
    cluster: ClusterFacts,
    policies: Sequence[str],
    answers: Callable[[], str | None],
    say: Callable[[str], None],
) -> list[str]:
    """What is wrong, a sentence each.

    Args:
        policies: names of the admission policies that must be there and bound.
        answers: asks the operator how it is; None if well, else what is wrong.
        say: told what is seen, a line a call.
    """
    found = []
    if (trouble := answers()) is None:
        say("The operator answers.")
    else:
        found.append(f"The operator is not well: {trouble}.")
    if not cluster.has_members():
        found.append("The API server does not know WgMeshNodes: install the chart with crds.install=true.")
    for policy in policies:
        if cluster.has_policy(policy):
            say(f"Admission policy {policy} is bound.")
        else:
            found.append(f"Admission policy {policy} is missing: upgrade the release.")
    meshes = cluster.meshes()
    for mesh in meshes:
        say(
            f"Mesh {mesh.name}: nodes {mesh.nodes or 'not known yet'}, links {mesh.links or 'not known yet'}."
        )
    if not meshes:
        say("There is no mesh yet: see the release's notes for how to make one (`helm get notes`).")
    return found


def operator_problem(url: str) -> str | None:
    """What keeps the operator's health page from saying that it is well; None if it does."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - the chart gives the URL
            return None
    except urllib.error.HTTPError as error:
        return f"{url} says {error.code} {error.reason}"
    except OSError as error:
        return f"{url} does not answer: {error}"


@click.command()
@click.option("--operator", required=True, help="URL of the operator's health page")
@click.option("--policy", multiple=True, help="admission policy that must be there; may be repeated")
def main(operator: str, policy: tuple[str, ...]) -> None:
    """Ends with 1 if something is wrong."""
    try:
        found = failed_checks(ReleaseApi(), policy, lambda: operator_problem(operator), click.echo)
    except OSError as error:
        found = [f"{error}."]
    for fault in found:
        click.echo(f"FAULT: {fault}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
