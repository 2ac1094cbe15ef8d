"""The agent in Kubernetes: the same daemon, with the cluster as its source of identity, address and roster."""
