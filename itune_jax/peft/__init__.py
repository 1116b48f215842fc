"""Floor 2: parameter-efficient methods and their exchange format."""
