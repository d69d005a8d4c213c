"""The cell conv_gru for stkit."""
