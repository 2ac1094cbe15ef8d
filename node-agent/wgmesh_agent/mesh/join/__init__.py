"""How a node joins: the Mesh service of a bootstrap node, and its client."""
