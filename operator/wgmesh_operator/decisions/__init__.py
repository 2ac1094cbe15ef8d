"""The operator's decisions: from the cluster's state and the time to actions. Nothing here reads, writes or waits."""
