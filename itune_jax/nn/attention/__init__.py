"""Attention: one signature, its kernels, masks, ring and cache."""
