"""What the operator decides: the cluster's state and the time in, actions out. Nothing here reads, writes or waits."""
