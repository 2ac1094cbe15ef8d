"""`wgmesh doctor`: diagnoses this node's links and this machine: findings with evidence and fix."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wgmesh_agent.cli.agent_client import CALL_TIMEOUT_SECONDS, SLOW_CALL_TIMEOUT_SECONDS, NoAgent, agent_at
from wgmesh_agent.cli.commands import GoCommand, gather, setting_options
from wgmesh_agent.cli.failure import CommandFailed
from wgmesh_agent.cli.output import OUTPUT
from wgmesh_agent.cli.units import printable
from wgmesh_agent.settings import table
from wgmesh_agent.settings.setting import Command
from wgmesh_api.text import shortened

if TYPE_CHECKING:
    from wgmesh_agent.diagnosis.finding import Finding
    from wgmesh_api.agent_pb2 import ExamineResult, MeshInfo

_WIDTH = 110


@click.pass_context
def _doctor(ctx: click.Context, node: str | None, output: str, as_document: bool) -> int:
    from wgmesh_agent.cli.machine import inspect_machine
    from wgmesh_agent.diagnosis.doctor import diagnose
    from wgmesh_agent.linux.local_networks import local_interfaces
    from wgmesh_agent.wireguard.errors import BackEndError

    resolved = gather(ctx, Command.DOCTOR)
    try:
        # First, because the agent repairs its interface while it inspects links.
        interfaces = local_interfaces()
        info, result, trouble, runs = _ask(resolved.value(table.AGENT_SOCKET), node or "")
        if result is not None and not result.ok:
            raise CommandFailed(f"nothing was inspected: {result.message}")
        machine = inspect_machine(resolved, interfaces, info, trouble, agent_runs=runs, result=result)
    except (BackEndError, OSError) as error:
        raise CommandFailed(f"this machine cannot be inspected: {error}") from error
    found = diagnose(machine, info, result)
    if as_document or output == "json":
        click.echo(json.dumps(_as_json(found, info, result), indent=2))
    else:
        for line in _as_text(found, info, result):
            click.echo(printable(line))
    return 1 if found else 0


def _ask(path: Path, node: str) -> tuple[MeshInfo | None, ExamineResult | None, str, bool]:
    """The agent's report, or why there is none, and whether an agent runs."""
    from wgmesh_api.agent_pb2 import AgentEmpty, ExamineRequest

    try:
        with agent_at(path) as agent:
            info = agent.Info(AgentEmpty(), timeout=CALL_TIMEOUT_SECONDS)
            result = agent.Examine(ExamineRequest(nodeName=node), timeout=SLOW_CALL_TIMEOUT_SECONDS)
    except CommandFailed as error:
        return None, None, str(error), not isinstance(error, NoAgent)
    return info, result, "", True


def _as_json(found: Sequence[Finding], info: MeshInfo | None, result: ExamineResult | None) -> dict[str, Any]:
    return {
        "well": not found,
        "mesh": info.name if info is not None else None,
        "node": info.nodeName if info is not None else None,
        "links": {
            "all": result.linkCount,
            "bad": result.badCount,
            "lookedAt": [link.nodeName for link in result.links],
        }
        if result is not None
        else None,
        "findings": [
            {
                "code": one.code.value,
                "about": one.about,
                "problem": one.problem,
                "evidence": one.evidence,
                "remedy": one.remedy,
                "what": one.problem,
                "seen": one.evidence,
                "do": one.remedy,
            }
            for one in found
        ],
    }


def _as_text(found: Sequence[Finding], info: MeshInfo | None, result: ExamineResult | None) -> list[str]:
    lines: list[str] = []
    for one in found:
        lines += [
            *_folded("", one.problem),
            *_folded("  evidence: ", one.evidence),
            *_folded("  fix:      ", one.remedy),
            "",
        ]
    if info is None or result is None:
        return [*lines, "Links were not checked: the agent did not report their state."]
    looked = [link.nodeName for link in result.links]
    count = f"{result.linkCount - result.badCount} of {result.linkCount} links of {info.nodeName} are up"
    closely = f"; inspected: {shortened(looked)}" if looked else ""
    return [*lines, f"{'' if found else 'No problems found: '}{count}{closely}."]


def _folded(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head]


doctor = GoCommand(
    "doctor",
    _doctor,
    params=[
        click.Argument(["node"], required=False),
        OUTPUT,
        click.Option(["--json", "as_document"], is_flag=True, help="equivalent to -o json"),
        *setting_options(Command.DOCTOR),
    ],
    help="Diagnose this machine and this node's links, or only the link to NODE. Exit code 0 if nothing was "
    "found, else 1. Certificate files are inspected if they are named as for join or bootstrap.",
)
