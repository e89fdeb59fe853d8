"""A two-dimensional convolution on crossbars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from hwmodel.errors import CrossbarError
from hwmodel.nn.layer import AnalogLayer


@dataclass(frozen=True, slots=True)
class ConvGeometry:
    """Geometry by which a convolution (groups = 1) cuts images into the vectors that a crossbar multiplies."""

    kernel: tuple[int, int]  #: (height, width), pixels, as are stride and dilation
    stride: tuple[int, int]
    dilation: tuple[int, int]
    margins: tuple[int, int, int, int]  #: (left, right, top, bottom), pixels
    padding_mode: str  #: as `torch.nn.functional.pad` names it

    @classmethod
    def of(cls, layer: nn.Conv2d) -> ConvGeometry:
        """Return the geometry of a convolution; an odd pixel of ``padding="same"`` goes right and below."""
        kernel, stride, dilation = (
            (int(pair[0]), int(pair[1])) for pair in (layer.kernel_size, layer.stride, layer.dilation)
        )
        if layer.padding == "same":
            height, width = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
            margins = (width // 2, width - width // 2, height // 2, height - height // 2)
        elif layer.padding == "valid":
            margins = (0, 0, 0, 0)
        else:
            vertical, horizontal = int(layer.padding[0]), int(layer.padding[1])
            margins = (horizontal, horizontal, vertical, vertical)
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return cls(kernel, stride, dilation, margins, mode)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the output for an image of this size."""
        left, right, top, bottom = self.margins
        padded = (height + top + bottom, width + left + right)
        high, wide = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, dilation, kernel, stride in zip(padded, self.dilation, self.kernel, self.stride, strict=True)
        )
        return high, wide

    def vectors(self, images: Tensor) -> Tensor:
        """Return the patch under each place of the output: ``[B, C, H, W]`` to ``[B, H' W', C kh kw]``."""
        padded = functional.pad(images, self.margins, mode=self.padding_mode)
        high, wide = self.dilation
        spans = tuple(dilation * (kernel - 1) + 1 for dilation, kernel in zip(self.dilation, self.kernel, strict=True))
        # One copy; `functional.unfold` makes the transpose of what is wanted.
        places = padded.unfold(2, spans[0], self.stride[0]).unfold(3, spans[1], self.stride[1])[..., ::high, ::wide]
        return places.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


class AnalogConv2d(AnalogLayer):
    """`torch.nn.Conv2d` (groups = 1) on crossbars: ``[N B, C, H, W]`` to ``[N B, C', H', W']``.

    The kernel is unfolded: ``in = C kh kw``, and every place of the output is one vector, multiplied in turn by the one
    copy of the kernel that the chip has. See `AnalogLayer`.
    """

    def __init__(self, *arguments: Any, geometry: ConvGeometry, **layer: Any) -> None:
        super().__init__(*arguments, **layer)
        self.geometry = geometry

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, bias and correction included."""
        if inputs.ndim != 4:
            raise CrossbarError(
                f"layer {self.crossbar.layer!r} takes images [batch, channels, height, width]; got {list(inputs.shape)}"
            )
        high, wide = self.geometry.kernel
        channels, count = self.crossbar.in_features // (high * wide), self.crossbar.out_features
        if inputs.shape[1] != channels:
            raise CrossbarError(
                f"layer {self.crossbar.layer!r} takes images of {channels} channels; got {list(inputs.shape)}"
            )
        size = self.geometry.output_size(inputs.shape[2], inputs.shape[3])
        vectors = self.geometry.vectors(inputs)
        each = len(inputs) // self.nodes * vectors.shape[1]
        products = self.product(vectors.reshape(self.nodes, each, self.crossbar.in_features))
        places = products.reshape(len(inputs), vectors.shape[1], count)
        outputs = places.transpose(1, 2).reshape(len(inputs), count, *size)
        return outputs if self.bias is None else outputs + self.bias[:, None, None]
