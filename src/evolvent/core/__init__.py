"""Pure values in, values out: the algorithms and the records they work on. Needs numpy only."""
