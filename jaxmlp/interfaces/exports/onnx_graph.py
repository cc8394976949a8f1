"""An ONNX graph in the making, and the file that it becomes."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

import jaxmlp

_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8  # that of opset 17; onnxruntime reads both since 1.15 (2023)


class Graph:
    """Nodes and constants, in the order in which they run."""

    def __init__(self) -> None:
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def input(self, name: str, dtype: DTypeLike, n_columns: int) -> str:
        """Declares an input `[N, n_columns]`; object is the type of strings."""
        self._inputs.append(_describe(name, dtype, ["N", n_columns]))
        return name

    def output(self, name: str, dtype: DTypeLike, *n_columns: int) -> str:
        """Declares an output `[N, *n_columns]`, for `add` to make."""
        self._outputs.append(_describe(name, dtype, ["N", *n_columns]))
        return name

    def add(
        self,
        operator: str,
        *inputs: str | NDArray[Any] | np.generic,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        """Adds a node whose inputs are tensors by name, or constants.

        Returns:
          Name of the tensor that it makes, `output` unless that is None.
        """
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        # A slash: no input has such a name.
        output = output or f"/{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def cast(self, tensor: str, dtype: DTypeLike, output: str | None = None) -> str:
        """Adds the conversion of a tensor to another type."""
        return self.add("Cast", tensor, output=output, to=_code(dtype))

    def to_bytes(self, text: str, metadata: dict[str, str]) -> bytes:
        """Checks the graph by ONNX's own rules and makes the file's bytes of it."""
        graph = helper.make_graph(
            self._nodes, "jaxmlp", self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*opset) for opset in _OPSETS.items()],
            ir_version=_IR_VERSION,
            producer_name="jaxmlp",
            producer_version=jaxmlp.__version__,
            doc_string=text,
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def _constant(self, values: NDArray[Any] | np.generic) -> str:
        name = f"/constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name


def _code(dtype: DTypeLike) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _describe(name: str, dtype: DTypeLike, shape: list[str | int]) -> Any:
    return helper.make_tensor_value_info(name, _code(dtype), shape)
