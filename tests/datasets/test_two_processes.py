"""Two processes of one number, as in two containers, decode one view together."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

CODE = """
import json, os, sys
from hashlib import sha256
from pathlib import Path
if os.getpid() != 1:
    os.getpid = lambda: 1
from catchup_eval import datasets
from catchup_eval.datasets.preprocessing import Preprocess
folder = Path(sys.argv[1])
data = datasets.load(str(folder / "photographs"), folder)
print("ready", flush=True)
sys.stdin.readline()
pixels = data.transform(Preprocess(16, resize=16)).split("test").images.numpy()
print(json.dumps([os.getpid(), pixels.shape[0], sha256(pixels.tobytes()).hexdigest()]))
"""


def first_of_its_own() -> list[str]:
    """The words that make a process the first of a namespace, where that is allowed."""
    words = ["unshare", "--pid", "--fork"]
    allowed = (
        shutil.which("unshare")
        and not subprocess.run([*words, "true"], capture_output=True).returncode
    )
    return words if allowed else []


def test_two_first_processes_give_the_right_pixels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 3), dtype=np.uint8)
    for number, colour in enumerate(colours):
        folder = tmp_path / "photographs" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        image = np.broadcast_to(colour, (20 + number, 24, 3))
        Image.fromarray(np.ascontiguousarray(image)).save(folder / f"{number:02d}.png")
    words = [*first_of_its_own(), sys.executable, "-c", CODE, str(tmp_path)]
    both = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    order = [*range(0, 12, 2), *range(1, 12, 2)]  # class by class
    pixels = np.broadcast_to(colours[order][:, :, None, None], (12, 3, 16, 16))
    expected = [1, 12, sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()]
    assert [json.loads(process.communicate()[0]) for process in both] == [expected] * 2
    views = tmp_path / ".catchup-eval" / "views"
    assert [path.suffix for path in views.iterdir()] == [".npy"], "nothing else is left"
