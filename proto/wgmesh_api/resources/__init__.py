"""The custom resources as pydantic models: source of the CRDs, and read by the operator.

Agents read the same objects through `wgmesh_api.roster`, without pydantic.
"""

from wgmesh_api.roster import API_VERSION, GROUP, VERSION

__all__ = ["API_VERSION", "GROUP", "VERSION"]
