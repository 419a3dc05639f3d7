"""What could mislead a reader stands before any number, what else differs in the appendix."""

from dataclasses import replace

from catchup_eval.report import contents
from catchup_eval.report.findings import banner, remarks
from catchup_eval.results import summary


def changed(study, key, **update):
    models = tuple(m.model_copy(update=update) if m.key == key else m for m in study.info.models)
    return replace(study, info=study.info.model_copy(update={"models": models}))


def measured(study, key, analysis, **update):
    run = study.provenance[key, analysis].model_copy(update=update)
    return replace(study, provenance={**study.provenance, (key, analysis): run})


def notes(study, analyses, failed=()):
    return banner(study, summary.summarize(study, analyses), failed)


def test_like_models_need_no_warning(three, methods, analyses):
    assert notes(three, analyses) == notes(methods, analyses) == []
    assert remarks(three) == remarks(methods) == []


def test_preprocessing(three, analyses):
    study = changed(three, "m1-s0", preprocessing="(pixels - 0) / 1")
    (sentence,) = notes(study, analyses)
    assert sentence == (
        "The models differ in preprocessing: (pixels - 0.5) / 0.5 (baseline, catchup); "
        "(pixels - 0) / 1 (cutmix)."
    )


def test_recipes_and_training_data(three, analyses):
    card = {**three.info.models[0].card, "recipe": {"epochs": 60, "seed": 9}, "data": "other"}
    study = changed(three, "m0-s0", card=card)
    (first,), (second,) = notes(study, analyses), remarks(study)
    assert (
        first == "The models differ in training data: other (baseline); unknown (cutmix, catchup)."
    )
    assert second == "The models differ in recipe: epochs: 60 (baseline); 30 (cutmix, catchup)."


def test_several_processes_of_a_training(three):
    study = three
    for key, method in (("m1-s0", "cutmix"), ("m2-s0", "comixup")):
        study = changed(study, key, card={"method": method, "recipe": {"processes": 2}})
    first, norms, groups, *others = remarks(study)
    assert first.startswith("cutmix and catchup: trained by 2 processes, each with a part of every")
    assert norms.startswith("cutmix and catchup: batch norms, if any, normalise each part")
    assert groups == "catchup: comixup: groups are made of the images of one part."
    sentence = "The models differ in recipe: processes: not set (baseline); 2 (cutmix, catchup)."
    assert sentence in others


def test_protocols_and_samples(three, analyses):
    key = ("m2-s0", "outside")
    frame = three.results[key].frame.assign(protocol="ood@2", n=10)
    results = {**three.results, key: replace(three.results[key], frame=frame)}
    protocol, samples = notes(replace(three, results=results), analyses)
    assert "protocol of AUROC (Images of no class): ood@1 (baseline, cutmix); ood@2" in protocol
    assert "600 (baseline, cutmix); 10 (catchup)" in samples


def test_devices(three):
    (sentence,) = remarks(measured(three, "m0-s0", "right", device="cuda"))
    assert (
        sentence == "The models differ in device: cuda (baseline); cpu (baseline, cutmix, catchup)."
    )


def test_a_subset_and_a_failed_check(made, three, analyses):
    data = three.info.data.model_copy(update={"subset": "subset: test n=40 of 500"})
    study = made(data=data)
    assert notes(study, analyses, ["Clean: it adds up"]) == [
        "A sanity check failed. Clean: it adds up."
    ]
    subset = contents.SummaryFact("subset", "test n=40 of 500", "caution")
    assert subset in contents.chips(study)


def test_unlike_software_and_threads_are_one_line(three, tmp_path):
    study = measured(three, "m0-s0", "right", versions={"torch": "3", "numpy": "2"}, threads=1)
    study = measured(study, "m1-s0", "right", versions={"torch": "2", "numpy": "2"}, threads=8)
    (sentence,) = remarks(study)
    assert sentence == (
        "The models were measured with different software or threads, which may change pixels "
        "or rounding: torch 3 (baseline), 2 (cutmix, catchup); threads 1 (baseline), 8 (cutmix). "
        "tables/provenance.csv lists every result."
    )
    page = contents.contents(study, {}, tmp_path, lambda *_: ())
    assert page.remarks == [sentence] and page.banner == []
    assert contents.escape_markdown(sentence) in contents.render(page)
    rows = page.frames["provenance"].query("analysis == 'right'").set_index("model")
    assert rows["threads"].to_dict() == {"baseline": 1, "cutmix": 8, "catchup": 0}
    assert rows["torch"].to_dict() == {"baseline": "3", "cutmix": "2", "catchup": "2"}


def test_software_that_differs_between_analyses_alone_is_no_difference_of_models(three):
    study = three
    for model in three.info.models:
        study = measured(study, model.key, "right", versions={"torch": "3"}, threads=4)
    assert remarks(study) == []
