"""``./gaia doctor``: what is wrong, the command that mends it, and the safe mends themselves.

A module for each thing that is looked at: it gathers facts, and plain rules on those facts make the findings.
"""
