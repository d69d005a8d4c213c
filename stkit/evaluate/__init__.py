"""Verification: scores on the test part, baselines, figures and the report."""
