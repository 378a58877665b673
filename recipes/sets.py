"""Public data sets by name: where their files lie, and which columns the recipe of the same name reads.

Each takes the folder (or file) as it was published and the folder of the table to come, and gives rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from formats.arff import read_labels, read_targets
from formats.columns import choose_columns
from formats.lines import read_parallel
from formats.molecules import with_fingerprints, with_scaffold_split
from formats.paths import find_picture, relative, require
from formats.sounds import read_sounds
from formats.voc import read_voc
from formats.yolo import find_pictures, read_yolo

Row = dict[str, Any]

EMOJI_NAMES = ("de", "fr", "es", "it", "pt", "ru", "tr", "id")
REVIEWS = {
    "title": "Title",
    "text": "Review Text",
    "age": "Age",
    "feedback": "Positive Feedback Count",
    "rating": "Rating",
    "recommended": "Recommended IND",
    "division": "Division Name",
    "department": "Department Name",
    "class": "Class Name",
}
CENSUS = (
    "age workclass fnlwgt education educational-num occupation race gender "
    "capital-gain capital-loss hours-per-week native-country income"
)
TOX21 = "NR-AR NR-AR-LBD NR-AhR NR-Aromatase NR-ER NR-ER-LBD NR-PPAR-gamma SR-ARE SR-ATAD5 SR-HSE SR-MMP SR-p53"
PACKAGES = {
    "split": "split",
    "section": "section",
    "description": "body_en",
    "synopsis": "synopsis_en",
    "german": "synopsis_de",
}
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
DIGITS = "zero one two three four five six seven eight nine"
TARGETS = {"atp1d": 6, "atp7d": 6, "edm": 2, "enb": 2, "jura": 3, "sf1": 3, "sf2": 3, "slump": 3, "wq": 14}


def emoji(source: Path, base: Path) -> Iterator[Row]:
    """A folder with `emoji.csv` and `png/`."""
    same = ("category", "subcategory", "has_skin_tones", "split", *(f"name_{code}" for code in EMOJI_NAMES))
    columns = {"picture": "file", "name": "name_en", "version": "added_in", **{name: name for name in same}}
    for row in choose_columns(require(source / "emoji.csv", "the table of emoji"), columns):
        yield {**row, "picture": relative(source / row["picture"], base)}


def reviews(source: Path, base: Path) -> Iterator[Row]:
    """Women's clothing reviews, one CSV file."""
    return choose_columns(source, REVIEWS)


def census(source: Path, base: Path) -> Iterator[Row]:
    """UCI Adult with a header line, one CSV file."""
    derived = {"never_married": ("marital-status", "Never-married")}
    return choose_columns(source, {name: name for name in CENSUS.split()}, derived)


def tox21(source: Path, base: Path) -> Iterator[Row]:
    """Tox21 as in MoleculeNet, one CSV file; the copies of a molecule have one SMILES."""
    rows = choose_columns(source, {name: name for name in ("smiles", *TOX21.split())})
    yield from with_scaffold_split(with_fingerprints(rows, "smiles"), "smiles")


def fsdd(source: Path, base: Path) -> Iterator[Row]:
    """Free Spoken Digit Dataset: `recordings/DIGIT_SPEAKER_TAKE.wav`; takes 0 to 4 test, 5 to 9 validate."""
    for row in read_sounds(source / "recordings", "{digit}_{speaker}_{take}.wav", base):
        take = int(row["take"])
        word = DIGITS.split()[int(row["digit"])]
        yield {**row, "word": word, "split": "test" if take < 5 else "val" if take < 10 else "train"}


def intent_and_slots(source: Path, base: Path) -> Iterator[Row]:
    """ATIS or SNIPS: `train/`, `dev/`, `test/`, each with `seq.in`, `seq.out` and `label`."""
    for split, name in {"train": "train", "dev": "val", "test": "test"}.items():
        files = {"words": "seq.in", "slots": "seq.out", "intent": "label"}
        lines = {column: source / split / file for column, file in files.items()}
        yield from ({"split": name, **row} for row in read_parallel(lines, tags_of={"slots": "words"}))


def multi30k(source: Path, base: Path) -> Iterator[Row]:
    """Multi30k, task 1, raw: `train.en.gz`, `val.en.gz`, `test_2016_flickr.en.gz`, and the same in German."""
    for split, stem in {"train": "train", "val": "val", "test": "test_2016_flickr"}.items():
        lines = {language: source / f"{stem}.{language}.gz" for language in ("en", "de")}
        yield from ({"split": split, **row} for row in read_parallel(lines))


def packages(source: Path, base: Path) -> Iterator[Row]:
    """Debian's packages with German translations, one JSONL file."""
    return choose_columns(source, PACKAGES)


def bccd(source: Path, base: Path) -> Iterator[Row]:
    """Blood cells: a folder in the form of Pascal VOC."""
    return read_voc(source, base)


def coco128(source: Path, base: Path) -> Iterator[Row]:
    """A YOLO set (the folder of its `object_detection_config.yaml`), with `masks/` for some of the pictures."""
    description = source / "object_detection_config.yaml"
    for row in read_yolo(description, base):
        path = base / row["picture"]
        mask = source / "masks" / path.parent.name / f"{path.stem}.png"
        yield {**row, "mask": relative(mask, base) if mask.is_file() else None}


def camvid(source: Path, base: Path) -> Iterator[Row]:
    """CamVid as the SegNet tutorial has it: `train/`, `trainannot/` …; class 11 is void."""
    for split in ("train", "val", "test"):
        for mask in find_pictures(source / f"{split}annot"):
            with Image.open(mask) as picture:
                present = np.unique(np.asarray(picture)).tolist()
            yield {
                "split": split,
                "picture": relative(find_picture(source / split, mask.stem), base),
                "mask": relative(mask, base),
                "present": [CAMVID[number] for number in present if number < len(CAMVID)],
            }


def targets(name: str) -> Callable[[Path, Path], Iterator[Row]]:
    """Mulan's tables of several targets: one ARFF file."""
    return lambda source, base: read_targets(source, TARGETS[name])


def labels(name: str) -> Callable[[Path, Path], Iterator[Row]]:
    """Mulan's tables of several labels: `NAME-train.arff`, a tenth of which validates, `NAME-test.arff`, `NAME.xml`."""

    def read(source: Path, base: Path) -> Iterator[Row]:
        for split in ("train", "test"):
            for number, row in enumerate(read_labels(source / f"{name}-{split}.arff", source / f"{name}.xml")):
                yield {"split": "val" if split == "train" and number % 10 == 9 else split, **row}

    return read


SETS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    "emoji": emoji,
    "reviews": reviews,
    "census": census,
    "tox21": tox21,
    "fsdd": fsdd,
    "atis": intent_and_slots,
    "snips": intent_and_slots,
    "multi30k": multi30k,
    "packages": packages,
    "bccd": bccd,
    "coco128": coco128,
    "camvid": camvid,
    **{name: targets(name) for name in TARGETS},
    **{name: labels(name) for name in ("emotions", "flags")},
}
