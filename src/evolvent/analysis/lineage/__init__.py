"""Who descends from whom: family trees, and how much of the diversity is left."""
