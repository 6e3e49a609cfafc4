"""How answers of the command line are written: as tables, JSON and CSV."""
