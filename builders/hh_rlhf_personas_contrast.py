# /// script
# requires-python = ">=3.11"
# dependencies = ["whoseboat"]
# ///
"""HH-RLHF with personas from the offline engine. The file's name is the dataset's name; pins, no logic.

python builders/hh_rlhf_personas_contrast.py [--data-dir DIR] [--limit N]
"""

import argparse
from pathlib import Path

import whoseboat

NAME = Path(__file__).stem.replace("_", "-")
SOURCE = "hh-rlhf"
OPTIONS = {"tranche": "helpful-base,helpful-online,helpful-rejection-sampled"}
ENGINE = "contrast"
SEED = 0


def main() -> None:
    """Build the folder `hh-rlhf-personas-contrast`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="read the original files on disk instead of the Hub")
    parser.add_argument("--limit", type=int, help="take only so many pairs")
    parser.add_argument("--out", default=NAME)
    given = parser.parse_args()
    built = whoseboat.build(
        SOURCE, given.out, data_dir=given.data_dir, options=OPTIONS, engine=ENGINE, limit=given.limit, seed=SEED
    )
    print(f"{built.path}: {built.manifest.rows['pairs']}")


if __name__ == "__main__":
    main()
