"""Pre-shared keys for each pair of members."""
