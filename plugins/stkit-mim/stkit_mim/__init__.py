"""MIM (Wang et al. 2019), Memory In Memory, as a plugin of stkit."""
