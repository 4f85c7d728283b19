"""What is installed is what is in the tree: the wheel's names, and the exported ones."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import whoseboat

ROOT = Path(__file__).parent.parent


def expected_names() -> set[str]:
    """Return the files of the tree that belong into the wheel, by their place in it."""
    names = set()
    for folder, place in (("src/whoseboat", ""), ("dataset_cards", "dataset_cards/"), ("model_cards", "model_cards/")):
        for path in (ROOT / folder).rglob("*"):
            if (
                path.suffix in {".py", ".css", ".js", ".json", ".jsonl", ".jinja", ".toml", ".typed", ".yaml"}
                and "__pycache__" not in path.parts
            ):
                names.add(f"whoseboat/{place}{path.relative_to(ROOT / folder).as_posix()}")
    return names | {"whoseboat/py.typed"}


def test_wheel_holds_the_tree(tmp_path: Path) -> None:
    """Every module, template and data file is in the wheel at its place, and nothing else."""
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools takes up what an earlier wheel left there
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected_names()


def test_exports_are_there_and_lazy() -> None:
    """Every exported name can be had, and importing the package loads none of the heavy libraries."""
    assert all(getattr(whoseboat, name) is not None for name in whoseboat.__all__)
    code = "import sys, whoseboat; print(sorted({'datasets', 'pyarrow', 'torch', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
