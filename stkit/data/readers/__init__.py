"""Readers of the published layouts of well-known data sets. None of them downloads or unpickles."""
