"""Contracts shared by operator and agent: generated stubs and certificate identities."""
