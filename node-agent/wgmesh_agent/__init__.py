"""The node agent: joins a mesh, gossips, programs WireGuard."""
