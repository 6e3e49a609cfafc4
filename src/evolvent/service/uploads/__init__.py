"""Checkpoints on their way in: received in pieces, sealed once."""
