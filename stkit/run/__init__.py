"""Runs: the directory that holds one, its checkpoints, and the trained forecaster in it. Importing this loads no torch."""
