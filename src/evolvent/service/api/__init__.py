"""The JSON API: one file a resource, and what runs, checks and documents them all."""
