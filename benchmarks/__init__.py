"""How long the commands take, side by side with the plain tools that do the same work: ``python -m benchmarks``."""
