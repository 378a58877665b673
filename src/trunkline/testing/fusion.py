"""What every fusion keeps."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trunkline.fusion import Fusion, LateModule
from trunkline.testing.shared import WIDTH, check_constructor, check_tokens, make_pyramid, make_tokens
from trunkline.types import Span, Tokens


def check_fusion(fusion: Fusion, *, tolerance: float = 1e-5) -> None:
    """The row token comes first, kept spans follow, masked tokens are not read, rows are independent.

    Padding behind a row's tokens changes nothing: an absent input is one token, with or without.

    Late fusion gives a row token for each expert, all rows of one after those of the other, and no more; the experts
    of single encoders come first, and what they say depends on no other encoder.
    """
    check_constructor(fusion)
    torch.manual_seed(0)
    module = fusion.build(["a", "b"], [] if fusion.is_late else ["b"], WIDTH).eval()
    assert fusion.is_late == isinstance(module, LateModule), "`is_late` is true of what builds a LateModule"
    tokens = {"a": make_tokens("a", 3, 4), "b": make_tokens("b", 3, 5)}
    tokens["b"].mask[1, 1:] = False
    tokens["b"].values[1] *= 0.02  # as small as what stands for an absent input: no normalisation hides its size
    present = {"a": torch.tensor([True, True, True]), "b": torch.tensor([True, False, True])}
    fused = module(tokens, present)
    check_tokens(fused, 3 * module.experts if isinstance(module, LateModule) else 3)
    if isinstance(module, LateModule):
        assert module.experts == 2 + module.joint, "there is an expert for each encoder, and one for all if joint"
        _check_speaking(module, tokens, present)
    assert fused.spans[0] == Span(None, 0, 1, "set", (1,)), "the first span must be the row token"
    kept = [] if fusion.is_late else ["b"]
    assert [s.input for s in fused.spans[1:]] == kept, "the spans of kept inputs must follow, and no others"
    if fusion.is_late:
        other = module({**tokens, "a": make_tokens("a", 3, 4)}, present).row()
        assert torch.equal(other[3:6], fused.row()[3:6]), "what one input says depends on another"
        assert not torch.equal(other[:3], fused.row()[:3]), "rows must lie one expert after the other"
    hidden = copy.deepcopy(tokens)
    hidden["b"].values[1, 1:] = 1e6
    assert torch.equal(module(hidden, present).row(), fused.row()), "masked tokens are read"
    alone = module({k: t.take(torch.tensor([1])) for k, t in tokens.items()}, {k: p[1:2] for k, p in present.items()})
    together = fused.row()[1::3] if fusion.is_late else fused.row()[1:2]
    assert torch.allclose(alone.row(), together, atol=tolerance), "a row depends on the rows beside it"
    bare = {**tokens, "b": Tokens.of_rows(tokens["b"].values[:, 0], "b")}
    rows = module(bare, present).row()[1::3] if fusion.is_late else module(bare, present).row()[1:2]
    assert torch.allclose(rows, together, atol=tolerance), "a row depends on the padding behind its tokens"
    _check_pyramid(module, tokens, present, tolerance)


def _check_pyramid(
    module: nn.Module, tokens: dict[str, Tokens], present: dict[str, torch.Tensor], tolerance: float
) -> None:
    """An input with several grids: all of them are kept; absent, it is one token, the first of the coarsest grid."""
    pyramid = make_pyramid("b", 3)
    start = pyramid.spans[-1].start
    pyramid.mask[1] = torch.arange(pyramid.mask.shape[1]) == start
    pyramid.values[1] *= 0.02
    fused = module({**tokens, "b": pyramid}, present)
    bare = module({**tokens, "b": Tokens.of_rows(pyramid.values[:, start], "b")}, present)
    if isinstance(module, LateModule):
        assert torch.allclose(fused.row()[1::3], bare.row()[1::3], atol=tolerance), "an absent pyramid is not one token"
        return
    assert [s.shape for s in fused.spans[1:]] == [s.shape for s in pyramid.spans], "grids of a kept pyramid are missing"
    assert torch.allclose(fused.row()[1], bare.row()[1], atol=tolerance), "an absent pyramid is not one token"


def _check_speaking(module: LateModule, tokens: dict[str, Tokens], present: dict[str, torch.Tensor]) -> None:
    """An expert that speaks of a row has not heard what is absent from it."""
    speaks = module.speaking(torch.stack([present["a"], present["b"]]))
    assert speaks.shape == (module.experts, 3) and bool(speaks.any(0).all()), "of each row an expert must speak"
    other = {**tokens, "b": tokens["b"].with_values(tokens["b"].values.clone())}
    other["b"].values[1] += 1.0  # the row in which it is absent
    before, after = (module(t, present).row().unflatten(0, (module.experts, 3)) for t in (tokens, other))
    assert torch.equal(before[speaks], after[speaks]), "an absent input is heard"
