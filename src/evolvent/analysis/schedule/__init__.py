"""Hyperparameters over rounds along one lineage: taken from a log, stretched, kept in files."""
