"""The task of the Spiking Heidelberg Digits."""
