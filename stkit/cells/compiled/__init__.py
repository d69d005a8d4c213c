"""Winograd's minimal filtering in C, compiled by the machine's own compiler when it is first used."""
