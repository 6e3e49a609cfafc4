"""Who asks, and whether that one may: tokens, sessions, roles, rate limits."""
