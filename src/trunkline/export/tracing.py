"""A module of PyTorch → a file of ONNX."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trunkline.export.choosing import translations
from trunkline.export.storing import CONSTANT, WEIGHT
from trunkline.files import replacing


def trace(
    module: nn.Module,
    given: dict[str, Any],
    shapes: dict[str, Any],
    input_names: list[str],
    output_names: list[str],
    path: Path,
) -> None:
    """Write the graph that a module is on these arguments.

    Args:
        module: in evaluation mode.
        given: arguments of `forward`.
        shapes: which of their sizes are free.
        input_names: of the graph, in the order of `given`.
        output_names: likewise.
        path: of the file.
    """
    with replacing(path) as unfinished, warnings.catch_warnings(), _quietly(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (),
            str(unfinished),
            kwargs=given,  # positional, a last dict would be taken for these
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=shapes,
            custom_translation_table=translations(),
        )
        notes = {name: CONSTANT for name, _ in module.named_buffers(remove_duplicate=False)}
        notes |= {name: WEIGHT for name, _ in module.named_parameters(remove_duplicate=False)}
        _clean(unfinished, notes)


def _clean(path: Path, notes: dict[str, str]) -> None:
    """Leave of the exporter's notes at each node only whose layer it is: the others are long, and tell the paths of the
    machine that it was written on. Note at tensors, by name, what they are: `storing` asks.
    """
    import onnx

    model = onnx.load(path)
    for noted in (model.graph, *model.graph.node):
        layers = [(note.key, note.value) for note in noted.metadata_props if note.key == "namespace"]
        del noted.metadata_props[:]
        for key, value in layers:
            noted.metadata_props.add(key=key, value=value)
    for tensor in model.graph.initializer:
        tensor.doc_string = notes.get(tensor.name, "")
    onnx.save(model, path)


@contextlib.contextmanager
def _quietly() -> Any:
    """The exporter prints its progress and logs the operators it does not know."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
