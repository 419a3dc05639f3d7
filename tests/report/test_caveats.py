"""What is not alike is said before any number."""

from dataclasses import replace

from catchup_eval import headlines
from catchup_eval.report.caveats import caveats
from catchup_eval.study import Study


def changed(study, key, **update):
    models = [m.model_copy(update=update) if m.key == key else m for m in study.info.models]
    return Study(
        study.info.model_copy(update={"models": tuple(models)}), study.results, study.provenance
    )


def said(study, analyses, failed=()):
    return caveats(study, headlines.lines(study, analyses), failed)


def test_like_models_need_no_warning(three, methods, analyses):
    assert said(three, analyses) == said(methods, analyses) == []


def test_preprocessing(three, analyses):
    study = changed(three, "m1-s0", preprocessing="(pixels - 0) / 1")
    (sentence,) = said(study, analyses)
    assert sentence == (
        "The models differ in preprocessing: (pixels - 0.5) / 0.5 (baseline, catchup); "
        "(pixels - 0) / 1 (cutmix)."
    )


def test_recipes_and_training_data(three, analyses):
    card = {**three.info.models[0].card, "recipe": {"epochs": 60, "seed": 9}, "data": "other"}
    first, second = said(changed(three, "m0-s0", card=card), analyses)
    assert (
        first == "The models differ in training data: other (baseline); unknown (cutmix, catchup)."
    )
    assert second == "The models differ in recipe: epochs: 60 (baseline); 30 (cutmix, catchup)."


def test_protocols_and_samples(three, analyses):
    results = dict(three.results)
    old = results["m2-s0", "outside"]
    frame = old.frame.assign(protocol="ood@2", n=10)
    results["m2-s0", "outside"] = replace(old, frame=frame)
    protocol, samples = said(Study(three.info, results), analyses)
    assert "protocol of AUROC (Images of no class): ood@1 (baseline, cutmix); ood@2" in protocol
    assert "600 (baseline, cutmix); 10 (catchup)" in samples


def test_devices(three, analyses):
    key = ("m0-s0", "right")
    provenance = {
        **three.provenance,
        key: three.provenance[key].model_copy(update={"device": "cuda"}),
    }
    (sentence,) = said(Study(three.info, three.results, provenance), analyses)
    assert (
        sentence == "The models differ in device: cuda (baseline); cpu (baseline, cutmix, catchup)."
    )


def test_a_subset_and_a_failed_check(made, three, analyses):
    data = three.info.data.model_copy(update={"subset": "subset: test n=40 of 500"})
    study = made(data=data)
    first, second = said(study, analyses, ["Clean: it adds up"])
    assert first == "Not the whole data set: test n=40 of 500."
    assert second == "A self-check failed. Clean: it adds up."
