"""The pixels of a file: those of Pillow, whatever decodes, and the same sentences about faults."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catchup_eval.core.errors import BadFile
from catchup_eval.datasets.decoding import decode_file, decode_images


def pillows(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def variants() -> Iterator[tuple[str, str, dict]]:
    """Mode, format and options of Pillow's writer."""
    for mode in ("RGB", "L", "CMYK"):
        for more in ({}, {"progressive": True}, {"quality": 20}, {"subsampling": 0}):
            yield mode, "JPEG", more
    yield "RGB", "JPEG", {"keep_rgb": True}  # no YCbCr
    yield "RGB", "MPO", {"save_all": True, "append_images": [Image.new("RGB", (9, 9))]}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield mode, "PNG", {}
    yield "P", "GIF", {}
    yield "RGB", "WEBP", {}
    yield "RGB", "BMP", {}


@pytest.mark.parametrize(("mode", "kind", "more"), [*variants()])
@pytest.mark.parametrize("size", [(41, 30), (1, 7)])
def test_pixels_are_pillows_bit_by_bit(
    mode: str, kind: str, more: dict, size: tuple[int, int], tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(levels).resize(size, Image.BICUBIC)
    path = tmp_path / "image.jpg"  # whatever it is
    image.convert("I;16" if mode == "I;16" else mode).save(path, kind, **more)
    found = decode_file(path, None)
    if mode == "I;16":
        with Image.open(path) as opened:
            expected = np.round(np.array(opened) / 257).astype(np.uint8)
        assert np.array_equal(found[0], expected)
    else:
        assert torch.equal(found, pillows(path))


def test_without_torchvisions_operator_pixels_are_the_same(
    tmp_path: Path, photograph: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photograph(tmp_path / "a.jpg", 1)
    before = decode_file(path, None)
    monkeypatch.setattr("catchup_eval.datasets.decoding.torch.ops", object())
    assert torch.equal(decode_file(path, None), before)


def test_a_cut_file_is_refused_where_pillow_refuses_it(
    tmp_path: Path, photograph: Callable[..., Path]
) -> None:
    """At every length, with and without bytes of another file behind it."""
    whole = photograph(tmp_path / "whole.jpg", 3).read_bytes()
    path, refused = tmp_path / "cut.jpg", 0
    for length in range(2, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            expected = pillows(path)
        except OSError as error:
            refused += 1
            with pytest.raises(BadFile, match="cannot be decoded: ") as ours:
                decode_file(path, None)
            if "truncated" in str(error):
                assert str(error) in str(ours.value)
        else:
            assert torch.equal(decode_file(path, None), expected)
    assert refused > 50


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    for content in (b"", b"\xff\xd8\xff", b"no image"):
        path.write_bytes(content)
        with pytest.raises(BadFile, match=f"^{path} cannot be decoded: it is no image of a known"):
            decode_file(path, None)
    with pytest.raises(BadFile, match=f"^{tmp_path / 'b.jpg'} cannot be decoded: No such file"):
        decode_images([tmp_path / "b.jpg"], None)


def test_a_border_is_cut_off_first(tmp_path: Path, photograph: Callable[..., Path]) -> None:
    path = photograph(tmp_path / "a.jpg", 2)
    assert torch.equal(decode_file(path, None, border=3), pillows(path)[:, 3:-3, 3:-3])


@pytest.mark.parametrize("pack", ["imagenet_eli500_s256", "dtd10_240_s256", "cub5_s256"])
def test_real_photographs_are_pillows_bit_by_bit(pack: str, shared: Path, tmp_path: Path) -> None:
    with np.load(shared / f"{pack}.npz") as archive:
        blob, offsets = archive["blob"].tobytes(), archive["offsets"]
    path = tmp_path / "a.jpg"
    for start, end in list(itertools.pairwise(offsets))[::12]:
        path.write_bytes(blob[start:end])
        assert torch.equal(decode_file(path, None), pillows(path))
