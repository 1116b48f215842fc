"""Floor 4: generators of instruction data, and what runs and resumes them."""
