"""ConvLSTM (Shi et al. 2015) as a plugin of stkit."""
