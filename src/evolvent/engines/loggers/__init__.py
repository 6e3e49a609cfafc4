"""What follows a study while it trains, and hands each entry to loggers once."""
