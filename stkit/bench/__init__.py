"""How fast a recipe trains and forecasts on this machine. Importing this loads no torch."""
