"""Forecasts without a truth, from a trained run and frames that are known: ``stkit predict``."""
