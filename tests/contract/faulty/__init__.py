"""Faulty cells, one fault each, and the rule of the contract that catches it."""
