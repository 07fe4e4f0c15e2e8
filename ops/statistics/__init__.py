"""What ``./gaia stats`` asks a database, and how the answers are shown. A new question is an entry in one module."""
