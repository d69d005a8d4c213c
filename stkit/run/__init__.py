"""Runs: the directory that holds one, and the trained forecaster in it. Importing this loads no torch."""
