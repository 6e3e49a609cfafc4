"""The place in which a round runs: the script, its module state, its working directory."""
