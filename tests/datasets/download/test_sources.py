import re
from pathlib import Path

import pytest

from catchup_eval.analysis.corruption.registry import BENCHMARK_19, IMAGENET_C_BAR
from catchup_eval.analysis.corruption.transforms.frost import NAMES as PHOTOGRAPHS
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.datasets import DATASETS
from catchup_eval.datasets.download.sources import find, load

SOURCES = load()
EXPECTED = """
digits cifar10 cifar100 cifar10-c cifar100-c cifar10.1 tiny-imagenet cub cars aircraft imagenet
imagenet-c imagenet-c-bar imagenet-o imagenet-real imagenet-a imagenet-r imagenet-sketch
imagenetv2-matched-frequency imagenetv2-threshold-0.7 imagenetv2-top-images objectnet cue-conflict
frost cifar10-cscores cifar100-cscores
openood-cifar10 openood-cifar100 openood-imagenet200 openood-imagenet
"""


def test_whatever_can_be_read_can_be_fetched() -> None:
    """The held-out datasets are made of others' files."""
    assert list(SOURCES) == EXPECTED.split()
    read = {name: entry for name, entry in DATASETS.items() if not name.endswith("-heldout")}
    for name, entry in read.items():
        classes = f"{SOURCES[name].classes:,} classes"
        assert (classes if name != "cifar10.1" else "networks of cifar10") in entry.about, name


def test_an_entry_says_what_one_needs() -> None:
    for name, source in SOURCES.items():
        assert source.about and source.licence, name
        assert re.search(r"\d{4}", source.citation), name
        assert source.page.startswith("http"), name
        assert (source.images > 0 and source.classes > 0) == (source.kind == "images"), name
        orphans = [file.name for file in source.files if not file.addresses or not file.unpack]
        assert all(orphan in source.by_hand for orphan in orphans), name
        for file in source.files:
            assert file.source, file.name
            for path in [*file.members, *file.counts]:
                assert path.split("/")[0] in file.top, path


def test_all_19_types_of_each_corrupted_set() -> None:
    for name, folder in (("cifar10-c", "CIFAR-10-C"), ("cifar100-c", "CIFAR-100-C")):
        members = SOURCES[name].files[0].members
        assert set(members) == {f"{folder}/{each}.npy" for each in (*BENCHMARK_19, "labels")}
        assert len({member.md5 for member in members.values()}) == 20
    tops = [top for file in SOURCES["imagenet-c"].files for top in file.top]
    assert sorted(tops) == sorted(BENCHMARK_19)
    (file,) = SOURCES["imagenet-c-bar"].files
    assert file.top == IMAGENET_C_BAR


def test_the_photographs_are_those_that_frost_reads() -> None:
    places = {file.request(Path("data")).path for file in SOURCES["frost"].files}
    assert {Path("data/frost") / name for name in PHOTOGRAPHS} <= places


def test_checksums_are_those_of_torchvision() -> None:
    from torchvision.datasets import CIFAR10, CIFAR100
    from torchvision.datasets.imagenet import ARCHIVE_META

    for name, reader in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        (file,) = SOURCES[name].files
        assert (file.md5, file.addresses) == (reader.tgz_md5, (reader.url,))
        listed = dict([*reader.train_list, *reader.test_list])
        listed[reader.meta["filename"]] = reader.meta["md5"]
        folder = reader.base_folder
        assert {path: each.md5 for path, each in file.members.items()} == {
            f"{folder}/{path}": md5 for path, md5 in listed.items()
        }
    ours = {file.name: file.md5 for file in SOURCES["imagenet"].files}
    assert ours == {name: md5 for part, (name, md5) in ARCHIVE_META.items() if part != "devkit"}


def test_what_is_absent(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'cifar10'"):
        find("cifar-10", SOURCES)
    with pytest.raises(BadFile, match="cannot read the list of sources"):
        load(tmp_path / "mine.toml")


HEAD = '[x]\nabout = "a"\nlicence = "b"\ncitation = "c 2000"\npage = "http://d"\n[[x.files]]\n'


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('name = "../x.tgz"', "stays in its folder"),
        ('name = "/x.tgz"', "stays in its folder"),
        ('name = "x.tgz"\naddresses = ["file:///etc/passwd"]', "addresses"),
        ('name = "x.tgz"\nmd5 = "97eceeb1"', "md5"),
        ('name = "x.tgz"\nsize = 0', "size"),
        ('name = "x.tgz"\nverified = true', "x.tgz is verified, but has no checksum"),
        ('name = "x.tgz"\nmd6 = "a"', "did you mean 'md5'"),
        ("name = ", "mine.toml is no valid TOML"),
    ],
)
def test_a_list_of_ones_own_is_checked(line: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + line)
    with pytest.raises(UserError, match=sentence):
        load(path)
