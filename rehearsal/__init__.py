"""Production, end to end, on one machine: Google's REST API, real servers and real jobs behind it, and the run."""
