"""Reads the log; knows no engine."""
