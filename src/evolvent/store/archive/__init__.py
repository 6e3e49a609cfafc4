"""A whole study in one file: its log and chosen checkpoints, to be opened on another machine."""
