"""Seeing inside a trained model: gates, gradients, attention, the stationarity of what it carries."""
