"""Policies of a node, in force from its first message on."""

from __future__ import annotations

from dataclasses import dataclass

from wgmesh_agent.mesh.join.bootstrap_directory import BootstrapDirectory
from wgmesh_agent.mesh.membership.policy import MembershipPolicy
from wgmesh_agent.mesh.rotation.key_policy import KeyPolicy


@dataclass(frozen=True, slots=True)
class Policies:
    """Created before the first session, and shared by all that follow. None has a default: a node without its policy
    would admit every caller with a certificate.
    """

    membership: MembershipPolicy
    keys: KeyPolicy
    bootstraps: BootstrapDirectory
