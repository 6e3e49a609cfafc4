"""A store behind a service."""
