"""The file of claims says exactly what it may say, and each claim can be read aloud."""

import pytest

from catchup_eval.core import toml
from catchup_eval.core.errors import UnknownName, UserError
from catchup_eval.paper.claims.claim import Claim, read

BEST = 'method = "a"\nrelation = "higher"\nmetric = "c.x"\n'


def claim(keys: str) -> Claim:
    (found,) = read(toml.parse(f"[[claims]]\n{keys}", "file"), "file").claims
    return found


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "a has the highest c.x"),
        ("by = 2", "a has the highest c.x by at least 2"),
        ('than = "b"', "a has higher c.x than b"),
        ('than = ["b", "c"]\ndata = "d"', "a has higher c.x than b and c on d"),
        ("than = 50", "a has higher c.x than 50"),
        ('where = {kind = "fog", severity = 3}', "a has the highest c.x{kind=fog, severity=3}"),
        ('relation = "no worse"\nthan = "b"\nby = 1', "a is no worse than b on c.x within 1"),
        ('relation = "equal"\nby = 1.0', "a is equal to all others on c.x within 1"),
    ],
)  # fmt: skip
def test_keys_are_said_in_a_sentence(keys: str, said: str) -> None:
    others = [line for line in BEST.splitlines() if line.split()[0] not in keys.split()]
    assert str(claim("\n".join([*others, keys]))) == said


def test_a_claim_compares_with_methods_or_with_a_number() -> None:
    assert (claim(BEST).others, claim(BEST).number) == ([], None)
    several = claim(f'{BEST}than = ["b", "c"]')
    assert (several.others, several.number) == (["b", "c"], None)
    assert (claim(f"{BEST}than = 0").others, claim(f"{BEST}than = 0").number) == ([], 0.0)


def test_a_claim_takes_from_the_heading_what_it_does_not_say() -> None:
    text = f'about = "checkpoints"\n[[claims]]\n{BEST}[[claims]]\n{BEST}about = "methods"'
    first, second = read(toml.parse(text, "file"), "file").claims
    assert (first.about, second.about) == ("checkpoints", "methods")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('method = "a"\nrelation = "lower"', "claim 1 of file: metric is missing"),
        ('method = "a"\nmetric = "c.x"', "claim 1 of file: relation is missing"),
        (BEST.replace("higher", "high"), "expected relation as 'better', 'lower', 'higher'"),
        (BEST.replace("higher", "no worse"), "claim 1 of file: 'no worse' needs by, the margin"),
        (BEST.replace("c.x", "x"), "expected metric as ANALYSIS.METRIC, got 'x'"),
        (BEST.replace("higher", "equal") + "by = 0", "'equal' needs by, the margin"),
        (BEST + "by = -1", "expected by as a number from 0, got -1"),
        (BEST + "where = 3", "expected where as a valid dictionary, got 3"),
        (BEST + "than = true", "claim 1 of file: expected than"),
    ],
)
def test_a_wrong_claim_is_refused_in_words(keys: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        claim(keys)


@pytest.mark.parametrize("key", ["metrc", "test"])
def test_a_key_that_is_none_is_reported(key: str) -> None:
    with pytest.raises(UnknownName, match=f"no setting of claim 1 of file '{key}'.*metric"):
        claim(f'{BEST}{key} = "a has the best x"')


def test_a_file_without_claims_is_none() -> None:
    with pytest.raises(UserError, match="file has no claims"):
        read({"title": "x"}, "file")
