"""Pulumi providers ``gcp`` and ``random`` in Python, for machines where the official plugins can't be had.

A table per resource type (``types``) and a small generic engine make the REST calls that the official plugin makes.
Nothing is kept here: what there is, the cloud knows. ``python -m rehearsal.provider`` serves both.
"""
