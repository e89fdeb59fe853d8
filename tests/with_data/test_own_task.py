"""A task that `fleet task new` writes of real faces: the whole demo, with Flower, holds every claim."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reram_fleet.processes.flower import program
from torch import nn

from edge_node.tasks.faces import olivetti_photos


class Evened(nn.Module):
    """Fifth roots of grey levels, less their mean around a pixel, over the deviation there."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        levels = photos.clamp(min=0) ** 0.2
        mean = nn.functional.avg_pool2d(levels, 13, 1, 6, count_include_pad=False)
        square = nn.functional.avg_pool2d((levels - mean) ** 2, 13, 1, 6, count_include_pad=False)
        return (levels - mean) / (square.sqrt() + 0.02)


class Sides(nn.Module):
    """What is above zero and what is below, each for itself."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([outputs.clamp(min=0), (-outputs).clamp(min=0)], dim=1)


class Root(nn.Module):
    """Square root."""

    def forward(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.sqrt()


def model() -> nn.Module:
    """Return 24 random filters without a mean, pooled over 25 places."""
    filters = nn.Conv2d(1, 24, 9, stride=2, bias=False)
    along = torch.arange(9.0) - 4
    envelope = torch.exp(-(along[:, None] ** 2 + along**2) / 12.5)
    weights = nn.functional.avg_pool2d(filters.weight.data, 3, 1, 1) * envelope
    filters.weight.data = weights - weights.mean(dim=(2, 3), keepdim=True)
    return nn.Sequential(Evened(), filters, Sides(), nn.AdaptiveAvgPool2d(5), Root(), nn.Flatten())


@pytest.mark.timeout(900)
def test_the_demo_of_a_written_task_holds_every_claim(tmp_path: Path) -> None:
    for number, photos in enumerate(olivetti_photos()):
        folder = tmp_path / "people" / f"f{number:02d}"
        folder.mkdir(parents=True)
        for photo, levels in enumerate(photos):
            Image.fromarray(np.rint(levels * 255).astype(np.uint8)).save(folder / f"{photo}.png")
    installed = tmp_path / "installed"
    installed.mkdir()
    shutil.copy(Path(__file__), installed / "random_filters.py")
    paths = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}

    def run(*command: str) -> str:
        done = subprocess.run([program("fleet"), *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    new = ["task", "new", str(tmp_path / "people-here"), "--model", "random_filters:model"]
    seen = json.loads(run(*new, "--data", str(tmp_path / "people"), "-o", "json"))
    assert seen["accuracy"] > 0.95
    assert seen["strangers_accepted"] < 0.15
    # An installation without pip: the module, and the metadata of its entry points.
    shutil.copy(tmp_path / "people-here" / "people_here_task.py", installed)
    metadata = installed / "people_here_task-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: people-here-task\nVersion: 1.0\n")
    points = {"tasks": "TASK", "code_ranges": "CODES"}
    lines = [f"[reram_fleet.{group}]\npeople-here = people_here_task:{name}\n" for group, name in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    run("demo", "--task", "people-here", "--nodes", "3", "--rounds", "1", "--output", str(tmp_path / "demo.json"))
    assert json.loads((tmp_path / "demo.json").read_text())["ok"] is True
