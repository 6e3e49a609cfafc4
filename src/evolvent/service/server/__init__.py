"""The process that serves: its socket, its protocol, its end."""
