"""Ablations: a grid of recipes at equal budget, with several seeds, and what can be said of it."""
