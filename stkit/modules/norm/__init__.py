"""Slot ``norm``: normalisation of a convolution's response before it is summed into a gate."""
