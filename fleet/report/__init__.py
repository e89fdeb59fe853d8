"""Plots of plain data: knows neither the chip nor a fleet. Whoever has numbers brings them."""
