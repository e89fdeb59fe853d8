"""Generation of images on crossbars: a diffusion transformer, classes enrolled by LoRA, and their erasure."""
