"""What is shown to others: a folder as the Hugging Face hub wants it, with a card made of manifests."""
