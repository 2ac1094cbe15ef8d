"""Building blocks for programs that run on: fences, supervision, bounded logging. Nothing of meshes."""
