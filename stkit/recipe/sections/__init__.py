"""The sections of a recipe as configuration classes."""
