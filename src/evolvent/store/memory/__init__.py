"""A store that ends with its process."""
