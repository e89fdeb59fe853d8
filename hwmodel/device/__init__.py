"""The ReRAM cell: window, programming error, relaxation, noise, faults, write-verify and wear.

Each model is a class of its own with its formula, source, units and the range it was measured in, and knows nothing of
the others; `DeviceModels` names the ones that a chip is made with, and `cell_levels` puts them together. Conductances
are whole numbers of grid steps ("levels"), so what is built on them is exact.
"""
