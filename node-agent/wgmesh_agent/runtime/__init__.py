"""Building blocks of long-running programs: error boundaries, supervision, bounded logging. Independent of meshes."""
