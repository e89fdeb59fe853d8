"""`python -m tests.image_weights`: train the transformer that comes with the package again (`make weights`)."""

from __future__ import annotations

import sys

from edge_node.generation.backbone_cache import SHIPPED, cached_backbone
from edge_node.tasks.images import IMAGES


def main() -> None:
    """Train the transformer of task `images` anew, and put it in the place of the one that was shipped before."""
    for old in SHIPPED.glob("*.safetensors"):
        old.unlink()

    def progress(done: int, steps: int) -> None:
        if done % 100 == 0:
            sys.stderr.write(f"{done} of {steps} steps\n")

    cached_backbone(
        IMAGES.images(IMAGES.public, test=False), IMAGES.seed, IMAGES.recipe.backbone, folder=SHIPPED, progress=progress
    )
    for lock in SHIPPED.glob("*.lock"):
        lock.unlink()


if __name__ == "__main__":
    main()
