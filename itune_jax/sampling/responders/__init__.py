"""Who answers requests: a model on the mesh, or an endpoint."""
