"""The background tasks of a node: `runtime.supervisor.Supervisor`, by the name that this package has for it."""

from wgmesh_agent.runtime.supervisor import Run
from wgmesh_agent.runtime.supervisor import Supervisor as Tasks

__all__ = ["Run", "Tasks"]
