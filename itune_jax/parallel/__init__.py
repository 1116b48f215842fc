"""Floor 1: meshes, shardings, hosts."""
