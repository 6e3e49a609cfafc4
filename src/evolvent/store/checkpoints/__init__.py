"""Checkpoints: directories named by what is in them."""
