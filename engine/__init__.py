"""The pinned Pulumi engine: how it is found, and what a stack can do with it.

The only door to the engine: no other package knows where it came from or how it is started.
"""
