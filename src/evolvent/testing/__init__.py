"""The check of training code that `evolvent check` runs."""
