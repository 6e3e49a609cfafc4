"""Run trainables; know no SQL."""
