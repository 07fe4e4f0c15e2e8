"""The proof that the migrations can be run: up, down and up again, with data, watched by readers, written as JSON."""

from migrations.proof.document import Proof, load, valid_for, write

__all__ = ["Proof", "load", "valid_for", "write"]
