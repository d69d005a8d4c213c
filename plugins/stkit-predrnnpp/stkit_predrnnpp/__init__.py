"""PredRNN++ (Wang et al. 2018): the Causal LSTM and the Gradient Highway Unit."""
