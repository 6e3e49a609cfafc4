"""A store over HTTP: the API, and the dashboard on the same API."""
