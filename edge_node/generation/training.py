"""Training of the frozen transformer, on public classes only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edge_node.errors import EngineError
from edge_node.generation.diffusion import STEPS, denoising_loss, from_colour_levels, noised
from edge_node.generation.dit import (
    CLASSES,
    IMAGE_SHAPE,
    NULL_LABEL,
    NULL_STYLE,
    STYLES,
    DiffusionTransformer,
    prompts_of,
)
from edge_node.generation.labelled_images import LabelledImages
from edge_node.recognition.lora.frozen_base import FrozenBase
from hwmodel import keyed_generator, keyed_seed

#: Called after each step with the steps done and the steps in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BackboneRecipe:
    """Recipe of the transformer's training: first as it is, then hardened against cells that miss their targets.

    Small steps with a cosine to nothing, then a fifth as many with noise on the weights, which chips then forgive: of
    generated pictures of public things, every one shows its thing and has its style, in float and on chips (112 each,
    180 nm, 8 to 25 steps of sampling, guidance 1 to 2.5). Four minutes of one core.

    Attributes
    ----------
    steps, hardening_steps
        Of Adam, without and with noise on the weights.
    batch
        Images per step.
    learning_rate, hardening_rate
        At the peak of each part; a half cosine takes it down to nothing.
    warm_up
        Steps in which the first rate is reached.
    ema
        Weight of the past in the running mean of parameters, which is what is kept.
    null_share
        Images whose prompt is withheld; the class alone is withheld from as many, and the style alone from half as many
        again: so the network also learns what is no class, and what is any style.
    weight_noise
        Standard deviation of the noise on a layer's weights, in its largest magnitude.
    weight_clip
        While it is hardened, weights beyond so many standard deviations of their layer are cut off: outliers
        widen the range that cells have to cover, and so make the errors of all others larger.
    """

    steps: int = 3200
    hardening_steps: int = 800
    batch: int = 64
    learning_rate: float = 2e-3
    hardening_rate: float = 1e-3
    warm_up: int = 50
    ema: float = 0.997
    null_share: float = 0.1
    weight_noise: float = 0.02
    weight_clip: float = 5.0

    @property
    def total_steps(self) -> int:
        """Steps of both parts."""
        return self.steps + self.hardening_steps

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        if step >= self.steps:
            return self.hardening_rate * half_cosine(step - self.steps, self.hardening_steps)
        rising = min(1.0, (step + 1) / max(1, self.warm_up))
        return self.learning_rate * rising * half_cosine(step, self.steps)


@dataclass(frozen=True, eq=False, slots=True)
class TrainedBackbone:
    """Transformer, frozen and in evaluation mode, and what it has seen.

    To forget one of the classes that it was `trained_on`, an adapter is only a mask. `base` has its layers as adapters
    see them, the label table among them under the name ``"labels"``.
    """

    model: DiffusionTransformer
    trained_on: frozenset[int]
    base: FrozenBase


def train_backbone(
    public: LabelledImages, seed: int, recipe: BackboneRecipe | None = None, *, progress: Progress | None = None
) -> TrainedBackbone:
    """Train a transformer on images of public classes; the result is the running mean of its weights.

    Rows of classes that are not among them are set to that of no class: asked for a stranger's class, the network does
    what it does when it is asked for nothing. The same bits for the same arguments, thread count and torch build.
    `EngineError` if images, labels or styles are not of the shapes of `LabelledImages`.

    Parameters
    ----------
    public
        Images with their classes and styles.
    seed
        Of the first weights, and of what each step draws.
    progress
        Called after every step.
    """
    recipe = recipe if recipe is not None else BackboneRecipe()
    check_images(public)
    model = _fresh_model(seed)
    images = from_colour_levels(public.levels)
    adam = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    mean = {name: value.detach().clone() for name, value in model.named_parameters()}
    for step in range(recipe.total_steps):
        hardening = step >= recipe.steps
        for group in adam.param_groups:
            group["lr"] = recipe.rate(step)
        draws = keyed_generator(seed, "images.backbone.step", step)
        picked = torch.randint(len(images), (recipe.batch,), generator=draws)
        steps = torch.randint(1, STEPS + 1, (recipe.batch,), generator=draws)
        noise = torch.randn(recipe.batch, *IMAGE_SHAPE, generator=draws)
        share = torch.rand(recipe.batch, generator=draws) / recipe.null_share
        asked = prompts_of(
            torch.where(share < 2, NULL_LABEL, public.labels[picked]),
            torch.where((share < 1) | ((share >= 2) & (share < 3.5)), NULL_STYLE, public.styles[picked]),
        )
        adam.zero_grad()
        replaced = _noisy_weights(layers, recipe.weight_noise, draws) if hardening else {}
        predicted = functional_call(model, replaced, (noised(images[picked], steps, noise), steps, asked))
        denoising_loss(predicted, images[picked], steps).backward()  # type: ignore[no-untyped-call]
        adam.step()
        if hardening:
            _clip_outliers(layers.values(), recipe.weight_clip)
        # A short memory at first: the first weights are random and should not be remembered.
        kept = min(recipe.ema, (1 + step) / (10 + step))
        for name, value in model.named_parameters():
            mean[name].lerp_(value.detach(), 1 - kept)
        if progress is not None:
            progress(step + 1, recipe.total_steps)
    unseen = [label for label in range(CLASSES) if label not in set(public.labels.tolist())]
    mean["labels.rows"][unseen] = mean["labels.rows"][NULL_LABEL].clone()
    return backbone_of(mean, public.labels)


def frozen_base(model: DiffusionTransformer) -> FrozenBase:
    """Return the layers that adapters may change: all linear ones, and the label table as ``"labels"``."""
    weights = {name: m.weight for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    return FrozenBase.of("images", {**weights, "labels": model.labels.rows.T})


def _fresh_model(seed: int) -> DiffusionTransformer:
    # Modules draw their first weights from torch's global stream, which is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(seed, "images.backbone.init"))
        return DiffusionTransformer()


def _noisy_weights(layers: Mapping[str, nn.Linear], noise: float, draws: torch.Generator) -> dict[str, Tensor]:
    """Return the weights of linear layers as cells that miss their targets would hold them.

    The error is in proportion to the largest magnitude, through which the gradient flows: so training also
    learns not to spend the conductance window on outliers.
    """
    noisy = {}
    for name, layer in layers.items():
        error = torch.randn(layer.weight.shape, generator=draws)
        noisy[f"{name}.weight"] = layer.weight + noise * layer.weight.abs().max() * error
    return noisy


def _clip_outliers(layers: Iterable[nn.Linear], sigmas: float) -> None:
    for layer in layers:
        largest = sigmas * float(layer.weight.detach().std())
        layer.weight.data.clamp_(-largest, largest)


def half_cosine(step: int, steps: int) -> float:
    """Return what falls from 1 to 0 over so many steps."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def backbone_of(weights: Mapping[str, Tensor], labels: Tensor) -> TrainedBackbone:
    """Return a network of these parameters, frozen, that was trained on images of these classes, int64."""
    model = _fresh_model(0)
    model.load_state_dict(weights)
    model.requires_grad_(False).eval()
    return TrainedBackbone(model, frozenset(labels.tolist()), frozen_base(model))


def check_images(images: LabelledImages) -> None:
    """Refuse what are no labelled images; `EngineError` with what was expected."""
    levels, labels, styles = images.levels, images.labels, images.styles
    if levels.dtype is not torch.uint8 or levels.shape[1:] != IMAGE_SHAPE:
        raise EngineError(
            f"images are colour levels, uint8 [B, *{list(IMAGE_SHAPE)}]; got {levels.dtype} {list(levels.shape)}"
        )
    for what, numbers, most in (("class", labels, CLASSES), ("style", styles, STYLES)):
        if numbers.dtype is not torch.int64 or numbers.shape != levels.shape[:1] or not len(numbers):
            raise EngineError(f"expected one int64 {what} per image, and an image; got {list(numbers.shape)}")
        if int(numbers.min()) < 0 or int(numbers.max()) >= most:
            raise EngineError(f"a {what} is 0 to {most - 1}; got {int(numbers.min())} to {int(numbers.max())}")
