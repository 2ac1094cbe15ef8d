"""Endpoints: this node's own, and which one of a peer's works."""
