"""Slot ``head``: what turns the nodes' hidden states into a frame."""
