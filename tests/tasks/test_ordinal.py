"""Ordinal: CORN's equations, scores against scikit-learn, levels by number and by name, numbers never seen."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from trunkline.errors import DataError
from trunkline.tasks import Ordinal
from trunkline.tasks.ordinal import log_probabilities, logits_of, median_places, quadratic_kappa

torch.set_num_threads(1)

STARS = {"levels": [1, 2, 3, 4, 5], "prior": [0.1, 0.1, 0.2, 0.3, 0.3]}
NAMED = {"levels": ["low", "middle", "high", "top", "out"], "prior": [0.2] * 5}


def saying(places: list[int], levels: int = 5) -> torch.Tensor:
    """Logits whose median is at these places, `[n, 1, K − 1]`."""
    steps = torch.arange(levels - 1)
    return torch.where(steps < torch.tensor(places)[:, None], 9.0, -9.0).unsqueeze(1)


class TestHead:
    def test_the_loss_is_the_papers_and_the_likelihood(self):
        """Equation 5 of CORN, summed over the conditional training subsets, is the rows' negative log-likelihood."""
        torch.manual_seed(0)
        task = Ordinal()
        head = task.build([STARS], 8).double()
        logits = torch.randn(40, 1, 4, dtype=torch.double)
        places = torch.randint(0, 5, (40,)).double()
        total, weight = head.loss(logits, {"values": places[:, None], "flags": torch.ones(40, 1, dtype=torch.bool)})
        paper = torch.zeros((), dtype=torch.double)
        for k in range(4):
            subset = places >= k  # S_1 is everybody, S_k those with y > r_(k-1)
            f = logits[subset, 0, k].sigmoid()
            higher = places[subset] > k
            paper -= f[higher].log().sum() + (1 - f[~higher]).log().sum()
        torch.testing.assert_close(total, paper.reshape(1))
        chances = log_probabilities(logits[:, 0]).exp()
        torch.testing.assert_close(chances.sum(-1), torch.ones(40, dtype=torch.double))
        torch.testing.assert_close(total[0], -chances.log()[torch.arange(40), places.long()].sum())
        assert weight.tolist() == [40.0]

    def test_ranks_are_consistent(self):
        """P(y > k) never rises with k, whatever the logits; the median is CORN's rank."""
        logits = torch.randn(100, 6, dtype=torch.double) * 3
        beyond = logits.sigmoid().cumprod(-1)
        assert bool((beyond[:, 1:] <= beyond[:, :-1]).all())
        chances = log_probabilities(logits).exp()
        torch.testing.assert_close(chances.flip(-1).cumsum(-1).flip(-1)[:, 1:], beyond)
        assert torch.equal(median_places(logits), (beyond > 0.5).sum(-1))

    def test_inputs_that_speak_apart_multiply(self):
        """Two inputs: `p₁ p₂ / prior`, normalised; of one that is present, what it says."""
        head = Ordinal().build([STARS], 8)
        outputs, present = torch.randn(2, 3, 1, 4), torch.tensor([[True, True, False], [True, False, True]])
        joined = head.combine(outputs, present)
        first, second = log_probabilities(outputs).exp()
        product = first * second / torch.tensor(STARS["prior"])
        torch.testing.assert_close(log_probabilities(joined[0]).exp(), product[0] / product[0].sum())
        torch.testing.assert_close(joined[1:], torch.stack([outputs[0, 1], outputs[1, 2]]))

    def test_it_starts_at_the_shares(self):
        head = Ordinal().build([STARS], 8)
        with torch.no_grad():
            head.linear.weight.zero_()
        said = log_probabilities(head.predict_output(torch.randn(1, 3, 8))).exp()
        torch.testing.assert_close(said[0, 0], torch.tensor(STARS["prior"]))

    def test_numbers_between_levels_are_left_out(self):
        head = Ordinal().build([STARS], 8)
        output, flags = torch.randn(3, 1, 4), torch.ones(3, 1, dtype=torch.bool)
        total, weight = head.loss(output, {"values": torch.tensor([[2.0], [2.5], [7.0]]), "flags": flags})
        alone = head.loss(output[:1], {"values": torch.tensor([[2.0]]), "flags": flags[:1]})
        assert (float(total), float(weight)) == (pytest.approx(float(alone[0])), 1.0)

    def test_smoothing_is_cross_entropy_with_a_mixed_label(self):
        head = Ordinal(label_smoothing=0.2).build([STARS], 8)
        output, flags = torch.randn(1, 1, 4), torch.ones(1, 1, dtype=torch.bool)
        total, _ = head.loss(output, {"values": torch.tensor([[3.0]]), "flags": flags})
        wanted = torch.full((5,), 0.04) + 0.8 * torch.nn.functional.one_hot(torch.tensor(3), 5)
        torch.testing.assert_close(total[0], -(wanted * log_probabilities(output[0, 0])).sum())


class TestScores:
    def test_they_are_those_of_scikit_learn(self):
        """Two stacked tasks with holes, in two batches; one counts in its own units, one in places."""
        rng = np.random.default_rng(0)
        tens = {"levels": [10, 20, 40, 80, 100], "prior": [0.2] * 5}
        truth, says, flags = rng.integers(0, 5, (60, 2)), rng.integers(0, 5, (60, 2)), rng.random((60, 2)) < 0.7
        metric = Ordinal().metric([tens, NAMED])
        output = torch.cat([saying(column.tolist()) for column in says.T], 1)
        for part in (slice(0, 20), slice(20, 60)):
            values = torch.tensor(truth[part]).float().masked_fill(~torch.tensor(flags[part]), torch.nan)
            metric.update(output[part], {"values": values, "flags": torch.tensor(flags[part])})
        units = [np.array(tens["levels"]), np.arange(5)]
        for g, scores in enumerate(metric.compute()):
            y, p = truth[flags[:, g], g], says[flags[:, g], g]
            assert scores == pytest.approx({
                "mae": metrics.mean_absolute_error(units[g][y], units[g][p]),
                "accuracy": metrics.accuracy_score(y, p),
                "quadratic_kappa": metrics.cohen_kappa_score(y, p, weights="quadratic", labels=list(range(5))),
            })  # fmt: skip

    def test_a_number_never_seen_counts_with_its_distance(self):
        task = Ordinal()
        target = task.collate([[task.prepare(x, STARS, None)] for x in (7.0, 2.5, 1.0)])
        metric = task.metric([STARS])
        metric.update(saying([4, 1, 0]), target)
        (scores,) = metric.compute()
        assert (scores["mae"], scores["accuracy"]) == (pytest.approx((2 + 0.5 + 0) / 3), pytest.approx(1 / 3))

    def test_a_constant_has_kappa_0_and_perfection_1(self):
        truth = torch.tensor([0.0, 1, 1, 4])
        assert quadratic_kappa(torch.full((4,), 2.0), truth) == pytest.approx(0.0)
        assert quadratic_kappa(truth, truth) == 1.0
        assert quadratic_kappa(torch.ones(4), torch.ones(4)) is None

    def test_the_baseline_is_the_median(self):
        """No constant has a smaller mean distance on the training rows."""
        task = Ordinal()
        cells = [1] * 4 + [2] * 5 + [3] * 3 + [5] * 8
        state = task.fit([task.read(c) for c in cells])
        target = task.collate([[task.prepare(float(c), state, None)] for c in cells])
        metric = task.metric([state])
        metric.update(task.baseline([state], target), target)
        (scores,) = metric.compute()
        assert scores["mae"] == pytest.approx(min(np.abs(np.array(cells) - c).mean() for c in (1, 2, 3, 5)))
        assert scores["quadratic_kappa"] == pytest.approx(0.0)


class TestLevels:
    def test_numbers_are_found_and_ordered(self):
        task = Ordinal()
        state = task.fit([task.read(cell) for cell in (10, "2.0", 2, 10.0, 3.5)])
        assert state == {"levels": [2, 3.5, 10], "prior": [0.4, 0.2, 0.4]}
        assert [task.prepare(task.read(c), state, None) for c in ("2", 10)] == [0.0, 2.0]

    def test_names_have_the_order_that_is_given(self):
        task = Ordinal(["low", "middle", "high"])
        state = task.fit([task.read(cell) for cell in ("high", "low", "low")])
        assert state["prior"] == [2 / 3, 0.0, 1 / 3]
        assert task.prepare("high", state, None) == 2.0
        ((said,),) = task.decode(saying([1], 3), [state], [None])
        assert said["value"] == "middle" and said["expected"] == pytest.approx(1.0, abs=1e-3)
        with pytest.raises(DataError, match=r"'hihg' is not one of the levels\. Did you mean 'high'\?"):
            task.read("hihg")

    def test_a_level_without_training_rows_can_be_told(self):
        head = Ordinal(["a", "b", "c"]).build([{"levels": ["a", "b", "c"], "prior": [0.5, 0.5, 0.0]}], 4)
        assert bool(torch.isfinite(head.linear.bias).all())
        assert all(np.isfinite(logits_of([0.0, 0.0, 1.0])))

    @pytest.mark.parametrize(
        ("task", "values", "says"),
        [
            (Ordinal(), [], "found none"),
            (Ordinal(), [3.0, 3.0], "at least 2 levels"),
            (Ordinal(), [float(i) for i in range(200)], "200 different numbers .* `type: number`"),
        ],
    )
    def test_what_cannot_be_learned(self, task, values, says):
        with pytest.raises(DataError, match=says):
            task.fit(values)

    def test_decoding_is_in_the_columns_units(self):
        state = {"levels": [10, 20, 40], "prior": [0.2, 0.4, 0.4]}
        output = torch.tensor(logits_of(state["prior"])).reshape(1, 1, 2)
        ((said,),) = Ordinal().decode(output, [state], [None])
        assert said["probabilities"] == pytest.approx({"10": 0.2, "20": 0.4, "40": 0.4})
        assert said["value"] == 20 and said["expected"] == pytest.approx(26)


def test_it_learns_an_order():
    """A noisy latent score in five levels, in a bare loop."""
    torch.manual_seed(0)
    x = torch.randn(600, 16)
    score = x[:, 0] + x[:, 1] + 0.3 * torch.randn(600)
    truth = torch.bucketize(score, torch.tensor([-1.5, -0.5, 0.5, 1.5])).float()
    task = Ordinal()
    state = task.fit(truth[:500].tolist())
    head = task.build([state], 16)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-2)
    target = task.collate([[task.prepare(v, state, None)] for v in truth.tolist()])
    train = {k: v[:500] for k, v in target.items()}
    for _ in range(150):
        total, weight = head.loss(head.predict_output(x[None, :500]), train)
        optimiser.zero_grad()
        (total / weight).sum().backward()
        optimiser.step()
    metric = task.metric([state])
    metric.update(head.predict_output(x[None, 500:]), {k: v[500:] for k, v in target.items()})
    (scores,) = metric.compute()
    assert scores["quadratic_kappa"] > 0.8
