"""PEFT folders of Hugging Face, both ways."""
