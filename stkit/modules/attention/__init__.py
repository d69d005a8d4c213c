"""Slot ``attention``: what can be attached to the places of a cell."""
