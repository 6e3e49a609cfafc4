"""The log as SQL, for every database alike."""
