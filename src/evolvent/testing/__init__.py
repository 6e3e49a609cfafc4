"""For tests, also of users: builders, the contract of stores, the check of training code."""
