"""Splits by scaffold."""

from __future__ import annotations

from formats.molecules import with_scaffold_split


def test_sets_of_one_scaffold_stay_together_and_the_largest_are_learned_from() -> None:
    """Ten molecules: six on benzene, two without a ring, then pyridine and cyclohexane, one each."""
    benzenes = [f"c1ccccc1{'C' * n}" for n in range(6)]
    smiles = ["c1ccncc1C", *benzenes[:3], "CCO", *benzenes[3:], "CCN", "C1CCCCC1"]
    rows = with_scaffold_split(({"smiles": one, "label": str(n)} for n, one in enumerate(smiles)), "smiles")
    assert [row["smiles"] for row in rows] == smiles
    assert [row["label"] for row in rows] == [str(n) for n in range(10)]
    splits = {row["smiles"]: row["scaffold_split"] for row in rows}
    assert {splits[one] for one in [*benzenes, "CCO", "CCN"]} == {"train"}  # eight of ten
    assert splits["c1ccncc1C"] == "test" and splits["C1CCCCC1"] == "val"


def test_a_set_that_does_not_fit_goes_on_and_smaller_ones_still_fit() -> None:
    """Nine of ten have one scaffold: they fit neither training (8) nor what is before the test rows (9 of 10) alone."""
    rows = with_scaffold_split(({"smiles": f"c1ccccc1{'C' * n}"} for n in range(9)), "smiles")
    assert {row["scaffold_split"] for row in rows} == {"test"}
    more = with_scaffold_split([*({"smiles": f"c1ccccc1{'C' * n}"} for n in range(9)), {"smiles": "C1CC1"}], "smiles")
    assert [row["scaffold_split"] for row in more] == ["val"] * 9 + ["train"]


def test_sets_of_one_size_come_as_in_deepchem() -> None:
    """Its rule, written as it writes it: sets sorted by size and first row, backwards."""
    rings = [f"C1{'C' * n}C1" for n in range(1, 11)]  # as many scaffolds as rows
    rows = with_scaffold_split(({"smiles": one} for one in rings), "smiles")
    order = [number for _, number in sorted(((1, number) for number in range(10)), reverse=True)]
    expected = dict.fromkeys(order[:8], "train") | {order[8]: "val", order[9]: "test"}
    assert [row["scaffold_split"] for row in rows] == [expected[number] for number in range(10)]
