"""What `evolvent demo` runs."""
