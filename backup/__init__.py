"""Backups of the database: how one is made, what it says of itself, which are kept.

The folder ``backups`` of a checkout holds the backups themselves.
"""
