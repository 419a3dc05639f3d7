"""Which output is which class: by name, by number, in order, or refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.classes import OutputNames, imagenet_places, match, read_names
from catchup_eval.datasets.readers.imagenet import PLACES

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CARD = OutputNames({name: place for place, name in enumerate(CIFAR)})
ORDER = OutputNames({"n01440764 tench": 0, "n02085620 Chihuahua": 1})
FILE = OutputNames({"cat": 3, "dog": 5, "ship": 8}, "order.toml")
SYNONYMS = OutputNames({"French Horn": 0, "Tinca tinca": 1}, "names.txt")
ZERO_TO = {count: [str(number) for number in range(count)] for count in (8, 9, 10, 12, 999)}


@pytest.mark.parametrize(
    ("classes", "outputs", "names", "columns", "note"),
    [
        (CIFAR, 10, OutputNames(), (), ""),
        (CIFAR, 10, CARD, (), ""),
        (sorted(CIFAR, reverse=True), 10, CARD, (*range(9, -1, -1),), "matched by name"),
        (["dog", "Bird"], 10, CARD, (5, 2), "of its 10 outputs, the 2 .* by name .* masked"),
        (["ship", "cat"], 10, FILE, (8, 3), "names in order.toml .* masked"),
        (["a", "A"], 2, OutputNames({"A": 0, "a": 1}), (1, 0), "by name"),
        (ZERO_TO[10], 10, CARD, (), ""),
        (ZERO_TO[8], 10, OutputNames(), (), "0 to 7, have no names .* none of which is masked"),
        (ZERO_TO[999], 1000, OutputNames(), (), "0 to 998, have no names"),
        (["0", "1", "4"], 10, OutputNames(), (0, 1, 4), "by the numbers that are their names"),
        (["1", "2", "3"], 3, OutputNames(), (), ""),
        (list("abcdefghij"), 10, CARD, (), "different names; both are taken in order"),
        (["n02085620-a", "n01440764"], 2, ORDER, (1, 0), "by name"),
        (["n01440764", "n03394916"], 2, SYNONYMS, (1, 0), "names in names.txt"),
        (["n01440764", "n01443537"], 1000, OutputNames(), (0, 1), "2 .* by WordNet number"),
        (["n02085620-Chihuahua", "Goldfish"], 1000, OutputNames(), (151, 1), "by WordNet number"),
    ],
)
def test_outputs_are_found(
    classes: list[str], outputs: int, names: OutputNames, columns: tuple[int, ...], note: str
) -> None:
    found = match(classes, outputs, names)
    assert found.columns == columns and bool(found.note) == bool(note)
    assert not note or np.array([part in found.note for part in note.split(" .* ")]).all()


@pytest.mark.parametrize(
    ("classes", "outputs", "names", "message"),
    [
        (
            CIFAR[:9],
            10,
            OutputNames(),
            r"10 outputs, the dataset 9 classes \(airplane, .*\(9 in all",
        ),
        (CIFAR, 9, OutputNames(), "the dataset 10 classes .* which are more"),
        (ZERO_TO[12], 10, CARD, "12 classes: labels up to 11"),
        (["1", "2", "3"], 10, OutputNames(), "as .classes=FILE"),
        (["cat", "crane"], 1000, OutputNames(), r"1,000 outputs, .*\(cat, crane\).* is not known;"),
        (["n01440764", "n99999999"], 1000, OutputNames(), "not known for n99999999;"),
        (["n01440764", "tench"], 1000, OutputNames(), "n01440764 and tench would both be .* 0"),
        (["n01440764"], 1000, OutputNames(), "one class, n01440764"),
        (["cat", "fox"], 10, FILE, "order.toml names no output for the class fox"),
        (["cat", "dog"], 5, FILE, "outputs from 0 to 4, .* got 3 to 8"),
        (["cat", "dog", "fox"], 3, OutputNames({"dog": 0, "cat": 1, "cow": 2}), "another order"),
        (["cat", "fox"], 10, CARD, r"10 outputs \(airplane, .* 2 classes \(cat, fox\).* for fox;"),
    ],
)
def test_what_is_not_known_is_refused(
    classes: list[str], outputs: int, names: OutputNames, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        match(classes, outputs, names)


def test_masked_or_not_is_named() -> None:
    """Unmasked, the dataset's classes come first and the others compete."""
    two = ["n01440764", "n02085620"]
    assert match(two, 1000).protocol == "masked2of1000"
    assert match(ZERO_TO[9], 1000).protocol == "full1000"
    assert match(CIFAR, 10).protocol == match(CIFAR[::-1], 10, CARD).protocol == ""
    for found in (match(two, 1000, mask=False), match(two, 1000, OutputNames(mask=False))):
        assert found.columns[:3] == (0, 151, 1) and sorted(found.columns) == [*range(1000)]
        assert found.protocol == "full1000" and "not masked" in found.note
    assert match(two, 1000, OutputNames(mask=True), mask=False) == match(two, 1000)
    numbered = match(ZERO_TO[9], 1000, OutputNames(mask=True))
    assert numbered.columns == (*range(9),) and numbered.protocol == "masked9of1000"
    assert match(["n01440764"], 1000, mask=False).columns == (*range(1000),)


@settings(max_examples=30)
@given(classes=st.permutations(CIFAR), count=st.integers(2, 10), shout=st.booleans())
def test_an_output_has_the_name_of_its_class(classes: list[str], count: int, shout: bool) -> None:
    some = [name.upper() if shout else name for name in classes[:count]]
    columns = match(some, 10, CARD).columns or range(10)
    assert [CIFAR[column] for column in columns] == classes[:count]


def test_imagenets_order_is_that_of_the_published_list() -> None:
    assert imagenet_places(list(PLACES)) == list(PLACES.values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("order.txt", "\ufeffdog \r\nBengal cat\r\n\n"),
        ("map.toml", 'dog = 0\n"Bengal cat" = 1\n'),
        ("map.json", '{"Bengal cat": 1, "dog": 0}'),
        ("order.json", '["dog", "Bengal cat"]'),
    ],
)
def test_files_of_names(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    names = read_names(tmp_path / name)
    assert dict(names.places) == {"dog": 0, "Bengal cat": 1}
    assert match(["bengal_cat", "dog"], 2, names).columns == (1, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "names of outputs, got none"),
        ("a.txt", b"cat\n\ndog\n", "a name for each output, got '' for 1"),
        ("a.txt", b"cat\ndog\ncat\n", "once, cat is twice"),
        ("a.txt", b"\x89PNG\xff", "it is no text"),
        ("a.toml", b"cat = 1\ndog = 1\n", "once, 1 is twice"),
        ("a.toml", b"cat = 1.5\n", "a whole number for 'cat', got 1.5"),
        ("a.toml", b"cat =\n", "no valid TOML"),
        ("a.json", b"{", "no valid JSON"),
        ("a.json", b"3", "names with their outputs, or a list"),
        ("a.json", b"[1, 2]", "a name for each output, got 1"),
    ],
)
def test_files_that_name_no_outputs(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=message):
        read_names(tmp_path / name)
    with pytest.raises(BadFile, match="No such file"):
        read_names(tmp_path / "absent")
    with pytest.raises(BadFile, match="no regular file"):
        read_names("/dev/zero")
