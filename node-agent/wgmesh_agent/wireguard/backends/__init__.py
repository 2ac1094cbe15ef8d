"""The shells around the pure data plane: each makes one kind of WireGuard device hold what it is told."""
