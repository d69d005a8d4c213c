"""Runs beside each other on the same test windows: paired differences, what they are worth, and the words for it."""
