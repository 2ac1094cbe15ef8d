"""The contracts that operator and agent share: generated stubs and certificate identities."""
