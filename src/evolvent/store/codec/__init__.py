"""Records as JSON and back, checked: on the wire and in archives."""
