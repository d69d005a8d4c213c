"""Modules for the named slots of a model, registered through the same hooks as any plugin's."""
