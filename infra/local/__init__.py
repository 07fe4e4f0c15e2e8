"""The targets that run on this machine: a Docker container, or an embedded server."""
