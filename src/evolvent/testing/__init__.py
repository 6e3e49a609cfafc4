"""For tests, also of users: builders, and the check of training code."""
