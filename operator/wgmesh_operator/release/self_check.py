"""The test of `helm test`: whether this release works, and the status of every mesh.

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
    """The cluster under test. Each call raises OSError, with a sentence, if the API server cannot be queried."""

    def meshes(self) -> Sequence[Mesh]: ...

    def has_members(self) -> bool: ...

    def has_policy(self, name: str) -> bool: ...


def failed_checks(
    cluster: ClusterFacts,
    policies: Sequence[str],
    answers: Callable[[], str | None],
    say: Callable[[str], None],
) -> list[str]:
    """The faults found, a sentence each.

    Args:
        policies: names of the admission policies that must exist and be bound.
        answers: queries the operator's health; None if healthy, else the fault.
        say: receives the results, a line per call.
    """
    found = []
    if (trouble := answers()) is None:
        say("The operator answers.")
    else:
        found.append(f"The operator is not healthy: {trouble}.")
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
        say("There is no mesh yet: see the release's notes for how to create one (`helm get notes`).")
    return found


def operator_problem(url: str) -> str | None:
    """Why the operator's health page does not report it healthy; None if it does."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):  # noqa: S310 - the chart gives the URL
            return None
    except urllib.error.HTTPError as error:
        return f"{url} says {error.code} {error.reason}"
    except OSError as error:
        return f"{url} does not respond: {error}"


@click.command()
@click.option("--operator", required=True, help="URL of the operator's health page")
@click.option("--policy", multiple=True, help="admission policy that must exist; may be repeated")
def main(operator: str, policy: tuple[str, ...]) -> None:
    """Ends with 1 if there is a fault."""
    try:
        found = failed_checks(ReleaseApi(), policy, lambda: operator_problem(operator), click.echo)
    except OSError as error:
        found = [f"{error}."]
    for fault in found:
        click.echo(f"FAULT: {fault}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
