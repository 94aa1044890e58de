"""Write the submission of AnimalCLEF 2026 from what `identify` found, and how well it groups.

    python examples/animalclef_submission.py identified/animalclef_2026 collections/animal-clef-2026

A photo that was named is in the cluster of that animal, one of an unknown animal in that of its group;
what has no group, or the name of another species' animal, is alone. `submission.csv` has a row per photo of
the test part: `image_id`, and `cluster` as cluster_<dataset>_<number>. Where the test part's animals are
named, the adjusted Rand index of each species is printed, and their mean.
"""

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import adjusted_rand_score


def clusters(found: Path, root: Path) -> pd.DataFrame:
    """The test part of the collection's table, with `cluster`."""
    table = pd.read_csv(root / "metadata.csv", dtype=str, keep_default_na=False)
    rows = table[table["split"].eq("test")].copy()
    answers = pd.read_csv(found / "answers.csv", dtype=str, keep_default_na=False).set_index("path")["answer"]
    if (copies := found / "same_files.csv").exists():
        answers = pd.concat([answers, pd.read_csv(copies, dtype=str).set_index("path")["identity"]])
    said = rows["path"].map(answers).fillna("unknown")
    known = table[table["split"].ne("test")]
    own = pd.MultiIndex.from_frame(known[["dataset", "identity"]])
    named = pd.MultiIndex.from_arrays([rows["dataset"], said]).isin(own)
    grouped = said.str.fullmatch(r"unknown \d+")
    together = said.where(named | grouped, "alone " + rows["image_id"])
    numbers = together.groupby(rows["dataset"]).transform(lambda one: pd.factorize(one)[0]).astype(str)
    return rows.assign(cluster="cluster_" + rows["dataset"] + "_" + numbers)


def agreement(rows: pd.DataFrame) -> dict[str, float]:
    """Adjusted Rand index of each species, of those of its photos whose animal is named."""
    named = rows[~rows["identity"].str.lower().isin(["", "unknown"])]
    parts = named.groupby("dataset")
    return {str(name): float(adjusted_rand_score(one["identity"], one["cluster"])) for name, one in parts}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("found", type=Path, help="folder that identify wrote")
    parser.add_argument("root", type=Path, help="of the collection, with its metadata.csv")
    given = parser.parse_args()
    rows = clusters(given.found, given.root)
    to = given.found / "submission.csv"
    rows[["image_id", "cluster"]].to_csv(to, index=False)
    print(f"{to}: {len(rows)} photos in {rows['cluster'].nunique()} clusters")
    if found := agreement(rows):
        for name, index in found.items():
            print(f"{name}: adjusted Rand index {index:.4f}")
        print(f"mean: {sum(found.values()) / len(found):.4f}")
