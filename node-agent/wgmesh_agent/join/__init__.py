"""How a node enters: the Mesh service of a bootstrap node, and its client."""
