"""Arrays and .npz files: every layout that is meant, and one sentence for all others."""

import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from catchup_eval.core.errors import BadFile, UserError
from catchup_eval.datasets.arrays import from_arrays, from_npy, from_npz

DRAW = np.random.default_rng(0)
COLOUR = DRAW.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.array([0, 1, 2, 0, 1, 2])
BOXES = np.array([[0, 0, 9, 8]] * 6)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (GREY, np.stack([GREY] * 3, 1)),
        (GREY[..., None], np.stack([GREY] * 3, 1)),
        (GREY[:, None], np.stack([GREY] * 3, 1)),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_every_layout_is_read(images: np.ndarray, expected: np.ndarray, kind: type) -> None:
    given_ = images if kind is np.uint8 else (images / 255).astype(kind)
    part = from_arrays(given_, LABELS).split("test")
    assert part.batch(slice(None)).images.is_contiguous() and part.images.dtype == torch.uint8
    np.testing.assert_array_equal(part.images.numpy(), expected)
    assert part.labels.tolist() == LABELS.tolist()
    assert part.index.tolist() == list(range(6))


def test_tensors_and_lists_are_arrays_too() -> None:
    data = from_arrays(torch.from_numpy(COLOUR), LABELS.tolist())
    np.testing.assert_array_equal(data.split("test").images, COLOUR.transpose(0, 3, 1, 2))


def test_what_is_given_is_not_shared() -> None:
    images = COLOUR.transpose(0, 3, 1, 2).copy()
    data = from_arrays(images, LABELS)
    images[:] = 0
    assert data.split("test").images.any()


def test_a_whole_dataset() -> None:
    data = from_arrays(
        COLOUR,
        LABELS,
        name="mine",
        boxes=BOXES,
        index=LABELS + 10 * np.arange(6),
        train=(GREY, LABELS),
        train_boxes=BOXES,
        out={"": GREY[:2], "near": COLOUR[:3]},
        class_names=["a", "b", "c"],
    )
    assert {name: len(part) for name, part in data.parts.items()} == {
        "test": 6,
        "train": 6,
        "out": 2,
        "out:near": 3,
    }
    assert data.classes == ("a", "b", "c") and data.name == "mine"
    assert data.split("boxes").index.tolist() == [0, 11, 22, 30, 41, 52]
    assert (data.split("out").labels == -1).all()


def test_mean_and_std_are_the_training_images() -> None:
    data = from_arrays(GREY, LABELS, train=(COLOUR, LABELS))
    np.testing.assert_allclose(data.mean, (COLOUR / 255).mean((0, 1, 2)), atol=5e-5)
    np.testing.assert_allclose(data.std, (COLOUR / 255).std((0, 1, 2)), atol=5e-5)
    alone = from_arrays(GREY, LABELS)
    np.testing.assert_allclose(alone.mean, [(GREY / 255).mean()] * 3, atol=5e-5)
    flat = from_arrays(np.full_like(GREY, 7), LABELS)
    assert min(flat.std) > 0, "a network may divide by it"
    stated = from_arrays(GREY, LABELS, mean=(0, 0.5, 1), std=(0.1, 0.2, 1))
    assert stated.mean == (0, 0.5, 1) and stated.std == (0.1, 0.2, 1)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"images": COLOUR[..., :2]}, r"got shape \(6, 8, 9, 2\)"),
    ({"images": COLOUR[0, 0]}, r"got shape \(9, 3\)"),
    ({"images": COLOUR[:0]}, r"got shape \(0, 8, 9, 3\)"),
    ({"images": np.zeros((6, 3, 8, 3), np.uint8)}, "channels first or last"),
    ({"images": COLOUR.astype(int)}, "uint8 or as floats .*, got int64"),
    ({"images": COLOUR > 9}, "got bool"),
    ({"images": COLOUR.astype(float)}, "floats in .*, got 0 to 255"),
    ({"images": COLOUR / 127.5 - 1}, "got -1 to 1"),
    ({"images": np.full((6, 8, 9), np.nan)}, "got nan to nan"),
    ({"images": np.full((6, 8, 9), np.inf)}, "got inf to inf"),
    ({"images": [[1], [2, 3]]}, "images as one array, got list"),
    ({"labels": LABELS[:5]}, r"labels as \(6,\) whole numbers, got int64 of shape \(5,\)"),
    ({"labels": np.eye(6, 3) + 1}, r"of shape \(6, 3\)"),
    ({"labels": np.eye(6, 3)}, r"labels as \(6,\) whole numbers, got float64 of shape \(6, 3\)"),
    ({"labels": LABELS / 2}, "got float64"),
    ({"labels": LABELS - 1}, "labels from 0 to at most 99999, got -1 to 1"),
    ({"labels": LABELS.astype("m8[s]")}, "got timedelta64"),
    ({"labels": np.full(6, 2**64 - 1, np.uint64)}, "got 18446744073709551615"),
    ({"boxes": BOXES[:, :3]}, r"boxes as \(6, 4\) numbers, got int64 of shape \(6, 3\)"),
    ({"boxes": BOXES + np.eye(6, 4, dtype=int)[::-1]}, "inside 9 x 8 pixels, got .* in row 2"),
    ({"boxes": BOXES[:, [2, 1, 0, 3]]}, "in row 0"),
    ({"boxes": BOXES * np.nan}, "in row 0"),
    ({"index": LABELS}, "6 different sample numbers"),
    ({"index": np.arange(6) - 1}, "got -1 to 4"),
    ({"class_names": ["a", "b"]}, "labels go up to 2, but there are 2 class names"),
    ({"train": (GREY, LABELS[:2])}, "train_labels"),
    ({"train": (COLOUR.astype(float), LABELS)}, "train_images"),
    ({"out": {"near": COLOUR.astype(float)}}, "out images near"),
    ({"mean": (0.5, 0.5)}, r"mean as three numbers in \[0, 1\]"),
    ({"mean": (125.3, 123.0, 113.9)}, "got .125.3"),
    ({"std": (0.5, 0.5, 0.0)}, r"std as three numbers in \(0, 1\]"),
    ({"std": (0.5, 0.5, np.nan)}, "std as three numbers"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_shown(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_arrays(**({"images": COLOUR, "labels": LABELS} | change))


ANY_ARRAY = npst.arrays(
    st.one_of(npst.scalar_dtypes(), st.just(np.dtype("U3"))),
    npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)


@settings(deadline=None, max_examples=60)
@given(images=ANY_ARRAY, labels=ANY_ARRAY, boxes=st.none() | ANY_ARRAY, index=st.none() | ANY_ARRAY)
def test_wild_arrays_make_a_dataset_or_one_sentence(
    images: np.ndarray, labels: np.ndarray, boxes: np.ndarray | None, index: np.ndarray | None
) -> None:
    try:
        data = from_arrays(images, labels, boxes=boxes, index=index)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert data.split("test").images.shape[1] == 3


def test_labels_in_a_column_or_one_hot_are_labels() -> None:
    column = from_arrays(COLOUR, LABELS[:, None])
    assert column.split("test").labels.tolist() == LABELS.tolist() and column.notes == ()
    rows = from_arrays(COLOUR, np.eye(3)[LABELS])
    assert rows.split("test").labels.tolist() == LABELS.tolist()
    assert rows.notes == ("the labels are one-hot, of 3 classes",)


def test_labels_from_one_are_shifted_and_told() -> None:
    data = from_arrays(COLOUR, LABELS + 1, train=(GREY, LABELS + 1), out=GREY)
    assert data.split("test").labels.tolist() == data.split("train").labels.tolist() == [*LABELS]
    assert data.classes == ("1", "2", "3") and data.split("out").labels.tolist() == [-1] * 6
    assert data.notes == ("the labels run from 1 to 3; 1 is taken as the first class",)
    named = from_arrays(COLOUR, [1, 1, 2, 2, 4, 4], class_names=["a", "b", "c", "d"])
    assert named.split("test").labels.tolist() == [0, 0, 1, 1, 3, 3] and named.notes
    for labels in ([1, 1, 2, 2, 4, 4], [1] * 6, LABELS):
        assert from_arrays(COLOUR, labels).split("test").labels.tolist() == [*labels]
        assert from_arrays(COLOUR, labels).notes == ()
    both = from_arrays(COLOUR, LABELS + 1, train=(GREY, LABELS))
    assert both.split("test").labels.tolist() == [*(LABELS + 1)], "0 is in the training split"


def test_images_scaled_twice_are_told() -> None:
    assert "above 1 of 255" in from_arrays(COLOUR // 255, LABELS).notes[0]


def archive(**arrays: np.ndarray) -> bytes:
    file = BytesIO()
    np.savez_compressed(file, allow_pickle=True, **arrays)
    return file.getvalue()


WHOLE = {"images": COLOUR, "labels": LABELS}


def read(tmp_path: Path, content: bytes) -> Any:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    return from_npz(path)


def test_a_file_of_everything(tmp_path: Path) -> None:
    content = archive(
        **WHOLE,
        boxes=BOXES,
        index=np.arange(6) + 5,
        train_images=GREY,
        train_labels=LABELS,
        train_boxes=BOXES,
        out_images=GREY,
        out_far_away_images=COLOUR,
        class_names=np.array(["a", "b", "c", "spare"]),
        mean=np.array([0.1, 0.2, 0.3]),
        std=np.array([0.1, 0.2, 0.3]),
    )
    data = read(tmp_path, content)
    assert set(data.parts) == {"test", "train", "out", "out:far_away"}
    assert data.name == "mine" and data.classes[-1] == "spare"
    assert data.mean == data.std == (0.1, 0.2, 0.3)
    assert data.split("test").index[0] == 5
    assert "mine.npz" in data.about
    same = from_arrays(COLOUR, LABELS, boxes=BOXES, index=np.arange(6) + 5)
    assert data.split("test").fingerprint == same.split("test").fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short or something else"),
        (b"<!DOCTYPE html><title>404</title>", "it is a web page"),
        (archive(**WHOLE)[:-30], "cut short"),
        (archive(**WHOLE, boxes=np.array([None, {}])), "Object arrays cannot be loaded"),
        (archive(**WHOLE | {"labels": LABELS.astype(object)}), "Object arrays"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message) as error:
        read(tmp_path, content)
    assert "mine.npz" in str(error.value)


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    file = BytesIO()
    np.save(file, COLOUR)
    with pytest.raises(BadFile, match="something else"):
        read(tmp_path, file.getvalue())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": COLOUR}, "expected the arrays images and labels.*; got images"),
        ({}, "got none"),
        (
            WHOLE | {"x_train": COLOUR},
            "train_images and train_labels.* got images, labels, x_train",
        ),
        (WHOLE | {"x_test": COLOUR}, "two arrays may be the images; got images, labels, x_test"),
        (WHOLE | {"z_train": COLOUR}, "got images, labels, z_train"),
        ({"arr_0": COLOUR, "arr_1": LABELS}, "got arr_0, arr_1"),
        (WHOLE | {"train_images": COLOUR}, "images and labels and train_images and train_labels"),
        (WHOLE | {"train_boxes": BOXES}, "and train_images and train_labels"),
        (WHOLE | {"class_names": np.arange(3)}, "class_names as one row of text, got int64"),
        (WHOLE | {"labels": LABELS / 2}, "mine.npz: expected labels"),
    ],
)
def test_a_file_of_other_arrays(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, archive(**arrays))
    assert "mine.npz" in str(error.value)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        ("x_test y_test x_train y_train", ""),
        ("X_test Y_test train_data train_targets", ""),
        ("images_test labels_test image_train label_train", ""),
        ("test_images test_labels train_images train_labels val_images val_labels", "passed over"),
        ("val_images val_labels train_images train_labels", "no test split"),
    ],
)
def test_names_of_other_libraries(names: str, note: str, tmp_path: Path) -> None:
    values = [COLOUR, LABELS[:, None], GREY, LABELS, GREY[:2], LABELS[:2]]
    data = read(tmp_path, archive(**dict(zip(names.split(), values, strict=False))))
    same = from_arrays(COLOUR, LABELS, train=(GREY, LABELS))
    assert data.fingerprint == same.fingerprint
    assert len(data.notes) == bool(note) and note in " ".join(data.notes)


@pytest.mark.parametrize("images", ["(N, H, W, 3)", "(N, H, W)", "floats"])
def test_reading_takes_little_memory(images: str, tmp_path: Path) -> None:
    """What is given and what is kept: at most twice the array."""
    array = np.zeros((3000, 64, 64) if images == "(N, H, W)" else (1000, 64, 64, 3), np.uint8)
    if images == "floats":
        array = array[:250].astype(np.float32)
    np.savez(tmp_path / "mine.npz", images=array, labels=np.arange(len(array)) % 3)
    tracemalloc.start()
    data = from_npz(tmp_path / "mine.npz")
    data.fingerprint  # noqa: B018
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert array.nbytes < peak < 2.1 * array.nbytes


CONTENT = archive(**WHOLE)
wild = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@wild
@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_cut_anywhere_is_reported(tmp_path: Path, length: int) -> None:
    with pytest.raises(BadFile):
        read(tmp_path, CONTENT[:length])


@wild
@given(at=st.integers(0, len(CONTENT) - 1), bits=st.integers(1, 255))
def test_a_damaged_byte_is_reported_or_harmless(tmp_path: Path, at: int, bits: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[at] ^= bits
    try:
        data = read(tmp_path, bytes(damaged))
    except UserError as error:
        assert "\n" not in str(error)
    else:
        np.testing.assert_array_equal(data.split("test").images, COLOUR.transpose(0, 3, 1, 2))


@wild
@given(st.binary(max_size=200))
def test_wild_bytes_are_reported(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadFile):
        read(tmp_path, b"PK\x03\x04" + content)


def test_a_pair_of_files(tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    for stem, name in (("images", tmp_path.name), ("x_images", "x"), ("my-data", "my-")):
        beside = stem.replace("images", "labels").replace("data", "labels")
        np.save(tmp_path / f"{stem}.npy", images)
        np.save(tmp_path / f"{beside}.npy", np.array([1, 0]))
        data = from_npy(tmp_path / f"{stem}.npy")
        assert data.name == name and data.split("test").labels.tolist() == [1, 0]
        assert np.array_equal(data.split("test").images.permute(0, 2, 3, 1).numpy(), images)


def test_a_pair_of_files_that_is_none(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(BadFile, match=r"there is no file .*labels\.npy"):
        from_npy(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", np.zeros(3, int))
    with pytest.raises(UserError, match=r"images\.npy: expected labels as \(2,\) whole numbers"):
        from_npy(tmp_path / "images.npy")
    with pytest.raises(UserError, match=r"expected images in NAMEimages.npy .* got other.npy"):
        from_npy(tmp_path / "other.npy")
    (tmp_path / "labels.npy").write_text("<html></html>")
    with pytest.raises(BadFile, match=r"expected an .npy array in .*labels.npy: it is a web page"):
        from_npy(tmp_path / "images.npy")
    np.save(tmp_path / "labels.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(BadFile, match=r"expected an \.npy array"):
        from_npy(tmp_path / "images.npy")
