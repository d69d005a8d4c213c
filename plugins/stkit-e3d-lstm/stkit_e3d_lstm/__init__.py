"""E3D-LSTM (Wang et al. 2019) as a plugin of stkit."""
