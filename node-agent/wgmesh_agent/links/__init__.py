"""Which links work: what is heard from each peer through its tunnel, not what is intended. Pure."""
