"""A fully connected layer on crossbars."""

from __future__ import annotations

from torch import Tensor

from hwmodel.nn.layer import AnalogLayer


class AnalogLinear(AnalogLayer):
    """`torch.nn.Linear` on crossbars: ``[N B, ..., in]`` to ``[N B, ..., out]``, node after node.

    All axes between the first and the last (tokens, time) are further vectors. See `AnalogLayer`.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's output, bias and correction included."""
        vectors = inputs.reshape(self.nodes, -1, self.crossbar.in_features)
        outputs = self.product(vectors).view(*inputs.shape[:-1], self.crossbar.out_features)
        return outputs if self.bias is None else outputs + self.bias
