"""The catalogs are the test matrix: every entry passes its public contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trunkline import balancers, fusion, modalities, tasks, testing, trunks
from trunkline.contexts import GridContext, WordsContext
from trunkline.types import Span, Tokens
from worlds import world

NOTES = ["small red", "a big green", "a big blue", "small blue"]


def picture_cells(folder: Path) -> list[Any]:
    table = world(folder, 4, holes=0.0)
    return [str(table.base / cell) for cell in table.column("photo")]  # type: ignore[operator]


def sound_cells() -> list[Any]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(n), 16000) for n in (5000, 8000, 12000)]


@pytest.fixture
def cells(tmp_path: Path) -> dict[str, list[Any]]:
    return {
        "image": picture_cells(tmp_path),
        "audio": sound_cells(),
        "text": NOTES,
        "number": [1, "2.5", -3.0],
        "category": ["red", "blue", "red", 3],
        "vector": [[1, 2.5], "[-1, 0]", "3|4", np.zeros(2)],
        "graph": [
            {"nodes": [["a", 1.5]]},
            '{"nodes": [["a", 2], ["b", 0]], "edges": [[0, 1]], "edge_features": [["x"]]}',
            {
                "nodes": [["c", 1], ["b", 3], ["a", 0]],
                "edges": [[0, 1], [1, 2], [2, 2]],
                "edge_features": ["x", "y", "x"],
            },
        ],
    }


@pytest.mark.parametrize("name", modalities.CATALOG)
def test_modality(name: str, cells: dict[str, list[Any]]) -> None:
    if name == "graph":
        pytest.importorskip("torch_geometric", reason="graphs need the extra `graphs`")
    testing.check_modality(modalities.CATALOG[name](), cells[name])


@pytest.mark.parametrize("name", fusion.CATALOG)
def test_fusion(name: str) -> None:
    testing.check_fusion(fusion.CATALOG[name]())


@pytest.mark.parametrize("name", trunks.CATALOG)
def test_trunk(name: str) -> None:
    testing.check_trunk(trunks.CATALOG[name]())


@pytest.mark.parametrize("name", balancers.CATALOG)
def test_balancer(name: str) -> None:
    testing.check_balancer(balancers.CATALOG[name]())


def rows_view(rows: int) -> torch.Tensor:
    return torch.randn(1, rows, testing.WIDTH)


def pyramid_view(rows: int) -> Tokens:
    spans = Span("photo", 0, 16, "grid", (4, 4), (4.0, 4.0)), Span("photo", 16, 20, "grid", (2, 2), (8.0, 8.0))
    return Tokens(torch.randn(rows, 20, testing.WIDTH), torch.ones(rows, 20, dtype=torch.bool), spans)


def words_view(rows: int, length: int) -> Tokens:
    span = Span("note", 0, length, "words", (length,))
    return Tokens(torch.randn(rows, length, testing.WIDTH), torch.ones(rows, length, dtype=torch.bool), (span,))


def task_case(name: str) -> tuple[list[Any], Any, list[Any] | None]:
    """Cells, what the head reads, contexts."""
    rng = np.random.default_rng(0)
    words = [WordsContext(("a", "b"), ((0, 1), (1, 3)))] * 4
    square = {"box": [2, 3, 9.5, 11], "label": "cat"}
    boxes = [[square], "[]", [square, {"box": [0, 0, 16, 4], "label": 3}], [square]]
    masks = [rng.integers(0, 3, (16, 16)).astype(np.uint8) for _ in range(4)]
    maps = [np.where(rng.random((16, 16)) < 0.2, np.nan, rng.normal(size=(16, 16))) for _ in range(4)]
    cases: dict[str, tuple[list[Any], Any, list[Any] | None]] = {
        "category": (["a", "b", "a", "c"], rows_view(4), None),
        "binary": (["yes", 0, True, "n"], rows_view(4), None),
        "labels": ([["a"], "a|b", [], '["b"]'], rows_view(4), None),
        "number": ([1, 2.5, "3", -1], rows_view(4), None),
        "ordinal": ([1, "3", 2, 3], rows_view(4), None),
        "mask": (masks, pyramid_view(4), [GridContext((16, 16), (0, 0, 16, 16), (16, 16))] * 4),
        "dense": (maps, pyramid_view(4), [GridContext((16, 16), (0, 0, 16, 16), (16, 16))] * 4),
        "boxes": (boxes, pyramid_view(4), [GridContext((16, 16), (0, 0, 16, 16), (16, 16))] * 4),
        "tags": (["B-x O", "O O", ["O", "B-x"], "B-x I-x"], words_view(4, 3), words),
        "text": (["rot", "blau", "rot rot", "gruen"], words_view(4, 3), None),
        "speech": (sound_cells(), words_view(3, 3), None),
        "transcript": (["rot", "blau", "rot rot", ""], words_view(4, 5), None),
    }
    return cases[name]


@pytest.mark.parametrize("name", tasks.CATALOG)
def test_task(name: str) -> None:
    cells, view, contexts = task_case(name)
    testing.check_task(tasks.CATALOG[name](), cells, view, contexts)


class TestContractsCatch:
    """A contract that lets a broken component through is worth nothing."""

    def test_a_pyramid_that_stands_on_its_head(self, cells: dict[str, list[Any]]) -> None:
        class Turned(modalities.Image):
            def build_pyramid(self, state: Any, width: int) -> Any:
                encoder = super().build_pyramid(state, width)
                forward = encoder.forward

                def turned(values: Any) -> Tokens:
                    tokens = forward(values)
                    return Tokens.cat([tokens.coarsest(), tokens.finest()])

                encoder.forward = turned  # type: ignore[method-assign]
                return encoder

        with pytest.raises(AssertionError, match="finest grid of a pyramid comes first"):
            testing.check_modality(Turned(), cells["image"])

    def test_a_mosaic_that_is_another_each_time(self, cells: dict[str, list[Any]]) -> None:
        class Restless(modalities.Image):
            def prepare_mosaic(self, values: Any, state: Any, rng: np.random.Generator) -> Any:
                return super().prepare_mosaic(values, state, np.random.default_rng())

        with pytest.raises(AssertionError, match="a mosaic follows from its generator"):
            testing.check_modality(Restless(), cells["image"])

    def test_rows_that_are_mixed_the_other_way_round(self, cells: dict[str, list[Any]]) -> None:
        class Swapped(modalities.Image):
            def mix(self, values: Any, order: Any, share: float) -> Any:
                return super().mix(values, order, 1 - share)

        with pytest.raises(AssertionError, match="with a share of 1 rows are their own"):
            testing.check_modality(Swapped(), cells["image"])

    def test_a_fusion_that_pools_a_grid_which_a_row_lacks(self) -> None:
        class Careless(fusion.Concat):
            def build(self, encoders: Any, keep: Any, width: int) -> Any:
                module = super().build(encoders, keep, width)
                forward = module.forward

                def careless(tokens: dict[str, Tokens], present: Any) -> Tokens:
                    return forward({name: one.finest() for name, one in tokens.items()}, present)

                module.forward = careless  # type: ignore[method-assign]
                return module

        with pytest.raises(AssertionError, match="pyramid"):
            testing.check_fusion(Careless())

    def test_a_trunk_that_calls_shared_layers_private(self) -> None:
        class GreedyModule(type(trunks.MMoE().build(("a",), 8))):  # type: ignore[misc]
            def private(self, task: str) -> Any:
                return [*super().private(task), self.experts]

        class Greedy(trunks.MMoE):
            def build(self, tasks: Any, width: int) -> Any:
                return GreedyModule(tasks, width, self.experts, self.expansion, self.dropout)

        with pytest.raises(AssertionError, match="its loss alone reaches"):
            testing.check_trunk(Greedy())

    def test_a_trunk_whose_view_reads_past_the_boundary(self) -> None:
        class Leaky(trunks.Hard):
            def build(self, tasks: Any, width: int) -> Any:
                module = super().build(tasks, width)
                share = module.share
                kept: list[Any] = []

                def leaky_share(tokens: Tokens) -> Any:
                    kept[:] = share(tokens)
                    return tuple(kept)

                module.share = leaky_share  # type: ignore[method-assign]
                module.view = lambda task, taps: taps[0].with_values(taps[0].values + kept[0].values)  # type: ignore
                return module

        with pytest.raises(AssertionError, match="exactly one boundary copy"):
            testing.check_trunk(Leaky())

    def test_a_penalty_that_reads_past_the_boundary(self) -> None:
        class Leaky(trunks.DSelectK):
            def build(self, tasks: Any, width: int) -> Any:
                module = super().build(tasks, width)
                share, penalty = module.share, module.penalty
                kept: list[Any] = []

                def leaky_share(tokens: Tokens) -> Any:
                    kept[:] = share(tokens)
                    return tuple(kept)

                module.share = leaky_share  # type: ignore[method-assign]
                module.penalty = lambda task, taps: penalty(task, tuple(kept))  # type: ignore[method-assign]
                return module

        with pytest.raises(AssertionError, match="exactly one boundary copy"):
            testing.check_trunk(Leaky())

    def test_a_task_that_reads_behind_a_false_flag(self) -> None:
        class Curious(tasks.Number):
            def build(self, states: Any, width: int) -> Any:
                head = super().build(states, width)
                head.loss = lambda output, target: (  # type: ignore[method-assign]
                    ((output[..., 0] - target["values"]).square() * target["flags"]).sum(0),
                    target["flags"].sum(0).float(),
                )
                return head

        with pytest.raises(AssertionError, match=r"behind a False flag|without label"):
            testing.check_task(Curious(), [1, 2, 3], rows_view(3))

    def test_an_encoder_that_reads_padding(self, cells: dict[str, list[Any]]) -> None:
        class Careless(modalities.Text):
            def collate(self, items: Any) -> Any:
                values = super().collate(items)
                return {**values, "mask": torch.ones_like(values["mask"])}

        with pytest.raises(AssertionError, match="rows beside it"):
            testing.check_modality(Careless(), cells["text"])

    def test_a_fusion_that_reads_masked_tokens(self) -> None:
        class Careless(fusion.Concat):
            def build(self, encoders: Any, keep: Any, width: int) -> Any:
                module = super().build(encoders, keep, width)
                forward = module.forward

                def careless(tokens: dict[str, Tokens], present: Any) -> Tokens:
                    seen = {k: Tokens(t.values, torch.ones_like(t.mask), t.spans) for k, t in tokens.items()}
                    return forward(seen, present)

                module.forward = careless  # type: ignore[method-assign]
                return module

        with pytest.raises(AssertionError, match="masked tokens are read"):
            testing.check_fusion(Careless())

    def test_a_balancer_that_forgets_what_shows_later_alone(self) -> None:
        class Forgetful(balancers.GradNorm):
            def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
                keys = super().load_state_dict(*args, **kwargs)
                self.learned.values[:, 3:] = 0  # Adam's moments
                self.learned.begin_step()
                return keys

        with pytest.raises(AssertionError, match="state does not survive"):
            testing.check_balancer(Forgetful())

    def test_a_balancer_that_keeps_numbers_by_place(self) -> None:
        class Placed(balancers.DWA):
            def observe(self, losses: torch.Tensor, tasks: Any) -> None:
                super().observe(losses, self.total.tasks[: len(tasks)])

        with pytest.raises(AssertionError):
            testing.check_balancer(Placed(window=1))

    def test_a_balancer_that_forgets_who_is_absent(self) -> None:
        class Fickle(balancers.GO4Align):
            def observe(self, losses: torch.Tensor, tasks: Any) -> None:
                super().observe(losses, tasks)
                absent = [task for task in self.log_shares.tasks if task not in tasks]
                self.log_shares.set(absent, torch.zeros(len(absent)))

        with pytest.raises(AssertionError, match="a task that is absent once is forgotten"):
            testing.check_balancer(Fickle())

    def test_a_balancer_that_writes_others_numbers_to_who_is_absent(self) -> None:
        class Rash(balancers.GO4Align):
            def observe(self, losses: torch.Tensor, tasks: Any) -> None:
                super().observe(losses, tasks)
                absent = [task for task in self.log_shares.tasks if task not in tasks]
                self.log_shares.set(absent, self.log_shares(absent) - losses.mean())

        with pytest.raises(AssertionError, match="a step without a task changes what is kept of it"):
            testing.check_balancer(Rash())

    def test_a_balancer_that_depends_on_order(self) -> None:
        class Unfair(balancers.Equal):
            def weigh(self, losses: torch.Tensor, tasks: Any) -> Any:
                weights = torch.arange(1.0, len(losses) + 1).to(losses)
                return losses * weights, weights

        with pytest.raises(AssertionError, match="permut"):
            testing.check_balancer(Unfair())
