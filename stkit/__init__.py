"""stkit: recurrent spatiotemporal forecasting."""
