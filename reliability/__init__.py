"""Proofs of endurance: each module is a command that says what it tried and counts what came of it."""
