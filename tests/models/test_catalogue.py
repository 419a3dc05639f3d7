"""The list of published checkpoints is whole, and what was not tried is said."""

from pathlib import Path

import pytest

from catchup_eval.cli.list import listing
from catchup_eval.core.errors import BadFile, UnknownName, UserError
from catchup_eval.core.http import DownloadRequest
from catchup_eval.models.catalogue import PublishedAccuracy, entries, find
from catchup_eval.models.loading import load
from catchup_eval.models.preprocessing import read
from catchup_eval.models.sources import WeightsAccess
from catchup_eval.models.spec import check_architecture, parse

FILES = {  # that lie beside the project
    "akamaster-cifar10-resnet20": "akamaster_cifar10_resnet20-12fca82f.th",
    "karanchahal-cifar10-wrn10_1": "karanchahal_WRN10_1_cifar10.pth",
    "karanchahal-cifar100-resnet8": "karanchahal_resnet8_cifar100.pth",
}


def test_each_entry_asks_for_a_network_that_is_known() -> None:
    for name, entry in entries().items():
        spec = parse(entry.spec)
        check_architecture(spec.architecture)
        if not spec.weights:
            read(spec.options, None, name)
        assert entry.page.startswith("https://") and entry.paper
        assert not entry.verified or (len(entry.sha256) == 64 and entry.accuracy), name
        assert not entry.address or entry.address.startswith("https://"), name


def test_addresses_and_checksums_are_each_there_once() -> None:
    for key in ("address", "sha256"):
        values = [value for entry in entries().values() if (value := getattr(entry, key))]
        assert len(values) == len(set(values))


def test_the_methods_of_table_5_are_there() -> None:
    papers = " ".join(entry.paper for entry in entries().values() if "Table 5" in entry.paper)
    for method in ("mixup", "CutMix", "Puzzle Mix", "Manifold Mixup", "Normalization", "Recursive"):
        assert method in papers


def test_the_list_says_what_was_not_verified() -> None:
    rows = listing("catalogue")
    assert rows["akamaster-cifar10-resnet20"].startswith("cifar10, 91.73 %; resnet20?norm=imagenet")
    assert "93.10 %, not verified" in rows["akamaster-cifar10-resnet44"]
    assert "by hand from https://" in rows["moex-imagenet-resnet50"]


def test_weights_without_an_address_say_how_to_name_them() -> None:
    with pytest.raises(UserError, match=r"torchvision:resnet50@FILE\?norm=imagenet&size=224"):
        find("cutmix-imagenet-resnet50-cutmix")
    with pytest.raises(UnknownName, match="did you mean 'akamaster-cifar10-resnet20'"):
        find("akamaster-cifar10-resnet-20")


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_downloaded_checked_and_loaded(
    shared: Path, tmp_path: Path, name: str
) -> None:
    def get(wanted: DownloadRequest) -> None:
        assert wanted.checksum == f"sha256:{entries()[name].sha256}"
        wanted.path.parent.mkdir(exist_ok=True)
        wanted.path.write_bytes((shared / "checkpoints" / FILES[name]).read_bytes())

    access = WeightsAccess(tmp_path / "models", get=get)
    loaded = load(f"mine=catalogue:{name}?interpolation=nearest&size=32", access=access)
    entry = entries()[name]
    assert loaded.claim == (
        PublishedAccuracy(entry.accuracy, entry.data) if entry.accuracy else None
    )
    assert bool(loaded.notes) == (not entry.verified)
    assert loaded.model.name == "mine" and "nearest" in loaded.model.preprocessing
    file = next(access.folder.iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadFile, match="is not the published file"):
        load(f"catalogue:{name}", access=access)


def test_each_file_that_is_downloaded_is_checked(tmp_path: Path) -> None:
    """Of some only the eight digits in their names are known."""

    def get(wanted: DownloadRequest) -> None:
        wanted.path.parent.mkdir(exist_ok=True)
        wanted.path.write_bytes(b"another file")

    assert all(len(entry.sha256) in (8, 64) for entry in entries().values() if entry.address)
    access = WeightsAccess(tmp_path / "models", get=get)
    with pytest.raises(BadFile, match=r"is not the published file: .* expected sha256:014dd654;"):
        load("catalogue:akamaster-cifar10-resnet44", access=access)


def test_a_claim_is_about_its_own_images() -> None:
    claim = PublishedAccuracy(91.73, "cifar10")
    assert claim.is_about("cifar10") and claim.is_about("cifar10_test")
    assert not claim.is_about("cifar100") and not claim.is_about("cifar10_train10k")
    assert PublishedAccuracy(91.73).is_about("anything")
