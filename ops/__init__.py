"""The commands: one module for each, put together in ``cli``."""
