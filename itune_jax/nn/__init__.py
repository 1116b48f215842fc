"""Floor 1: layers whose every matmul is a site that an adapter can sit on."""
