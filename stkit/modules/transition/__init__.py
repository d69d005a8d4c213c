"""Slot ``transition``: what keeps a cell's memory from one step to the next."""
