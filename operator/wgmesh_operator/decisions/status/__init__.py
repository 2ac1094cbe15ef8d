"""Status of a mesh: conditions, counts, and when they are written."""
