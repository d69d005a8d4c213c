"""The plugin host: what plugins may bring, which are installed, and what went wrong. Imports no torch."""
