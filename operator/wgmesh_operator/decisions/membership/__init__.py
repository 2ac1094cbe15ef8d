"""Membership: which nodes and external machines are members of a mesh, and with which properties."""
