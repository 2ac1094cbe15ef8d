"""All findings, the most important first."""

from __future__ import annotations

from wgmesh_agent.diagnosis.finding import Code, Finding
from wgmesh_agent.diagnosis.link import link_findings
from wgmesh_agent.diagnosis.machine import Machine, machine_findings
from wgmesh_agent.diagnosis.mesh import own_findings
from wgmesh_api.agent_pb2 import ExamineResult, MeshInfo

_ORDER = {code: place for place, code in enumerate(Code)}


def diagnose(machine: Machine, info: MeshInfo | None, result: ExamineResult | None) -> list[Finding]:
    """Args:
    info, result: the agent's report; None without an answer.
    """
    found = [*machine_findings(machine)]
    if info is not None and result is not None:
        found += own_findings(result.own, result.links, info.endpoint, machine.own_addresses, info.interface)
        for facts in result.links:
            found += link_findings(facts, result.own, info.nodeName, info.interface)
    return sorted(dict.fromkeys(found), key=lambda one: _ORDER[one.code])
