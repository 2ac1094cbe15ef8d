"""Where other members can reach this node's WireGuard."""
