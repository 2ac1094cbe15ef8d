"""Defaults of the agents' deployment for what the mesh's spec leaves unset, from the operator's command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AgentDefaults:
    """`namespace` is the operator's: it contains all namespaced objects that the operator creates."""

    namespace: str
    agent_image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    agent_cluster_role: str = "wgmesh-agent"
    priority_class: str = ""
    agent_resources: Mapping[str, Any] = field(default_factory=dict)
    tunnel_resources: Mapping[str, Any] = field(default_factory=dict)
