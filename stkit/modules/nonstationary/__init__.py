"""Slot ``nonstationary``: what makes fields steadier before the network sees them, with the exact way back."""
