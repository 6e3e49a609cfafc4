"""What a study looks like in a terminal. Renders records; holds no rules."""
