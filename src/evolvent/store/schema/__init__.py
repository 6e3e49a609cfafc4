"""The tables, and how older ones come to the newest version."""
