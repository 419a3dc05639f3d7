"""Claims tested by finished reports, and the further seeds that could decide more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catchup_eval import feature_learning
from catchup_eval.paper.claims.claim import Claims
from catchup_eval.paper.claims.judging import JudgedClaim, judge
from catchup_eval.paper.reproduction import shipped_reproductions
from catchup_eval.results import study
from catchup_eval.results.merge import merge_by_dataset
from catchup_eval.results.study import Study
from catchup_eval.trainers.mixing import METHODS


def judge_folders(
    claims: Claims, folders: Sequence[Path]
) -> tuple[list[JudgedClaim], dict[str, Study]]:
    """Test claims by the studies of these folders; gives the studies, too, by their dataset."""
    studies = merge_by_dataset(
        [study.load(folder, feature_learning.KNOWN) for folder in folders], folders
    )
    costs = {data: seconds_per_seed(one) for data, one in studies.items()}
    judged = judge(
        claims.claims, studies, feature_learning.KNOWN, methods=known_groups(), costs=costs
    )
    return judged, studies


def seconds_per_seed(one: Study) -> dict[str, float]:
    """What training and evaluating one more model of each group takes, as it took before.

    NaN where a training's history was not saved.
    """

    def seconds(key: str) -> float:
        training = one.results.get((key, "training"))
        trained = float(training.rows("seconds")["value"].sum()) if training else np.nan
        return trained + sum(p.seconds for (model, _), p in one.provenance.items() if model == key)

    return {
        group: float(np.mean([seconds(info.key) for info in one.models_of(group)]))
        for group in one.groups
    }


def more_seeds(
    data: str, judged: Sequence[JudgedClaim], seeds: Sequence[int], limit: int
) -> tuple[int, ...]:
    """These seeds, and the next unused ones with which all claims that can be decided are decided.

    Args:
        data: the dataset of the claims that count.
        limit: seeds per method beyond which a claim is given up.
    """
    needs = [one.need for one in judged if one.need and one.data == data]
    counts = [need.count for need in needs if need.units == "seeds" and need.count]
    wanted = max((count for count in counts if count <= limit), default=0)
    unused = (seed for seed in range(wanted + len(seeds)) if seed not in seeds)
    return (*seeds, *(seed for seed, _ in zip(unused, range(len(seeds), wanted))))


def known_groups() -> list[str]:
    """The methods and the rows of the paper's tables: what a claim may be about, though absent."""
    rows = (row.name for one in shipped_reproductions().values() for row in one.rows)
    return list(dict.fromkeys([*METHODS, *rows]))
