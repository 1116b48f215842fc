"""Hugging Face folders: names, config.json, tensors."""
