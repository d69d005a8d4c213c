"""PredRNN (Wang et al. 2017) and PredRNN-V2 (Wang et al. 2021) as a plugin of stkit."""
