"""Is a field stationary, how long does it remember, and what does that suggest to try? Imports nothing at import."""
