"""The custom resources, once: pydantic models that the CRDs are made from and the operator reads.

Agents read the same objects through `wgmesh_api.roster`, without pydantic.
"""

from wgmesh_api.roster import API_VERSION, GROUP, VERSION

__all__ = ["API_VERSION", "GROUP", "VERSION"]
