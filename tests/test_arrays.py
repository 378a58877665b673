"""Cells to arrays, outputs to answers, in NumPy: as tensors where there is a second way, and without PyTorch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from trunkline.arrays import answers, seeing, tags
from trunkline.arrays.contract import KINDS, Answers, Cells, made, told
from trunkline.contexts import GridContext
from trunkline.modalities import CATALOG as MODALITIES
from trunkline.modalities import picture_levels
from trunkline.tasks import CATALOG as TASKS
from trunkline.tasks import crf, scales

CONTEXTS = [
    GridContext((40, 60), (0, 0, 40, 60), (24, 32)),  # smaller
    GridContext((10, 9), (0, 0, 10, 9), (24, 32)),  # larger
    GridContext((40, 20), (0, -17, 40, 53), (24, 32)),  # a letterbox
    GridContext((300, 211), (30, 20, 200, 150), (24, 32)),  # a window
]


@pytest.mark.parametrize("context", CONTEXTS)
def test_pictures_are_scaled_as_by_pytorch(context: GridContext) -> None:
    rng = np.random.default_rng(0)
    fill = [0.2, 0.4, 0.6]
    picture = rng.integers(0, 256, (*context.original, 3)).astype(np.uint8)
    ours, theirs = seeing.scaled(picture, 3, context, fill), picture_levels.scaled(picture, 3, context, fill).numpy()
    gap = np.abs(ours.astype(int) - theirs.astype(int))
    assert ours.dtype == theirs.dtype == np.uint8
    assert gap.max() <= 1 and (gap > 0).mean() < 0.01, "a level, where it lies between two"
    deep = picture.astype(np.float32) / 255
    ours, theirs = seeing.scaled(deep, 3, context, fill), picture_levels.scaled(deep, 3, context, fill).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("context", [*CONTEXTS, GridContext((12, 10), (2, 1, 8, 6), (8, 6), flipped=True)])
def test_grids_are_restored_as_by_pytorch(context: GridContext) -> None:
    grid = np.random.default_rng(0).standard_normal((3, *context.size)).astype(np.float32)
    np.testing.assert_allclose(
        seeing.restored(grid, context), context.restore(torch.from_numpy(grid)).numpy(), atol=1e-5
    )


def test_the_likeliest_paths_are_those_of_tensors() -> None:
    rng = np.random.default_rng(0)
    output = rng.standard_normal((5, 9 + 4 + 2, 4)).astype(np.float32)
    output[:, 9:] = output[:1, 9:]  # the chain is every row's
    places = np.array([[0, 1, 3], [2, -1, 8], [5, -100, -100], [-100] * 3, [0, 7, -100]])
    whole = np.array([True, False, True, True, False])
    ours = tags.likeliest_path(output, places, whole)
    theirs = crf.likeliest_path(torch.from_numpy(output), torch.from_numpy(places), torch.from_numpy(whole))
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("extra", [{}, {"unit": 0.5, "limits": [-2.0, 3.0]}])
def test_numbers_are_in_units_as_by_tensors(extra: dict[str, object]) -> None:
    state = {"mean": 0.3, "std": 2.0, **extra}
    values = np.linspace(-3, 3, 13)
    theirs = scales.in_units(torch.from_numpy(values), state).numpy()
    np.testing.assert_allclose(answers.in_units(values, state), theirs, rtol=1e-12)


@pytest.mark.parametrize("name", [*MODALITIES])
def test_every_kind_of_input_says_how_its_cells_become_arrays(name: str) -> None:
    kind = MODALITIES[name]().cells
    assert isinstance(kind, Cells) and made(told(kind)) == kind


@pytest.mark.parametrize("name", [*TASKS])
def test_every_kind_of_task_says_what_its_outputs_say(name: str) -> None:
    kind = TASKS[name]().answers
    assert isinstance(kind, Answers) and made(told(kind)) == kind


def test_a_description_of_another_version() -> None:
    with pytest.raises(ValueError, match="'SmellCells' is not known here"):
        made({"kind": "SmellCells", "options": {}})


def test_nothing_of_it_imports_pytorch() -> None:
    code = (
        "import sys, importlib\n"
        "for name in ('torch', 'transformers', 'pyarrow'): sys.modules[name] = None\n"
        f"for module in {sorted(set(KINDS.values()))}: importlib.import_module(f'trunkline.arrays.{{module}}')\n"
        "import trunkline.export.model"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
