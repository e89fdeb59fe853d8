"""Calibration LoRA of a chip, and the experiment of `fleet chip restore`: bad chips before and after it."""
