from typing import Any, Literal

import pytest

from trunkline.config import Catalogs
from trunkline.modalities import Modality


class Image:
    axis = "grid"

    def __init__(self, size: int | tuple[int, int] = 160, augment: bool = True) -> None:
        self.size, self.augment = size, augment


class Text:
    axis = "words"

    def __init__(self, *, max_length: int = 256, vocabulary: list[str] | None = None) -> None:
        self.max_length, self.vocabulary = max_length, vocabulary


class Vector:
    axis = "set"

    def __init__(self, size: int, separator: str = "|") -> None:
        self.size, self.separator = size, separator


class Kind:
    reads: str

    @classmethod
    def reads_with(cls, options: dict[str, Any]) -> str:
        return cls.reads


class Category(Kind):
    reads = "row"


class Labels(Kind):
    reads = "row"

    def __init__(self, separator: str = "|") -> None:
        self.separator = separator


class Mask(Kind):
    reads = "grid"

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes


class Generate(Kind):
    reads = "tokens"


class MMoE:
    def __init__(self, experts: int = 8, mode: Literal["soft", "hard"] = "soft", decay: float = 0.1) -> None:
        self.experts, self.mode, self.decay = experts, mode, decay


class Anything:
    def __init__(self, options: dict[str, int] | None = None, **more: Any) -> None:
        self.options, self.more = options, more


class Equal:
    pass


class OwnModality(Modality):
    axis = "set"

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def read(self, cell):
        return cell

    prepare = collate = build = read


@pytest.fixture(scope="session")
def catalogs() -> Catalogs:
    return Catalogs(
        modalities={"image": Image, "text": Text, "vector": Vector},
        tasks={"category": Category, "labels": Labels, "mask": Mask, "text": Generate},
        fusion={"concat": Equal, "anything": Anything},
        trunks={"mmoe": MMoE},
        balancers={"equal": Equal},
    )
