"""The figures: one file draws one kind."""
