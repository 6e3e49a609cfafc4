"""Training code of any language, run as a command."""
