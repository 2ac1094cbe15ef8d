"""Keys, certificates and secrets of a mesh."""
