"""Say what a study would do: photos, trials, pairs, memory, time. No cluster; a few photos are timed.

In: the config. Out: text.
"""

import pandas as pd
import psutil
import torch

from reid_ray import allotted
from reid_ray.config.collections import present
from reid_ray.config.named import results_folder
from reid_ray.config.tune import Study
from reid_ray.embedding.availability import find
from reid_ray.embedding.memory import Need, estimate
from reid_ray.splits.domains import variant_rows
from reid_ray.splits.learnable import trained_on
from reid_ray.splits.plausibility import plausible
from reid_ray.studies.pace import cost, pairs_per_second, sample
from reid_ray.studies.planning import enlarged, matched_most, pair_count, scopes
from reid_ray.studies.transfer import refuse_empty
from reid_ray.studies.wanted import look_for_weights

_ASPECT = 1.5  # of a typical photo; sizes are not known before decoding
_GIB = 2**30
_LISTED = 100  # trials, each with a line of its own
_STEP = 3  # forward passes that a training step takes
_SUSTAINED = 50e12  # FLOP per second, to say hours in; a card's own share of its peak varies
_ROOM = 0.8  # of a machine's memory; libraries and photos have the rest


def forecast(study: Study) -> str:
    """A table of collections, the list of trials, and estimates of memory."""
    study, left_out = present(study)
    loaded, (rows, findings), odd = plausible(study.data, made=results_folder(study.storage) / "synthetic")
    not_run = look_for_weights(study)
    lines = [f"Study {study.name}, {study.scope}", "", *_collections(rows), ""]
    lines += [f"note: {text}" for text in (*odd, *(finding.text for finding in findings), *left_out)]
    if len(loaded.quarantine):
        lines.append(f"note: {len(loaded.quarantine)} rows quarantined before decoding")
    lines += [*_trials(study, rows), "", *_models(study), *_matching(study, rows)]
    models = {model.name for model in study.baselines.pretrained}  # told of above
    lines += [f"Not run: {name}: {reason}" for name, reason in not_run.items() if name not in models]
    lines += ["", *_memory(study, rows)]
    return "\n".join(lines)


def _collections(rows: pd.DataFrame) -> list[str]:
    lines = [f"{'collection':<20} {'domain':<8} {'animals':>8} {'photos':>8} {'reference':>10} {'query':>8}"]
    for name, part in rows.groupby("dataset", sort=False):
        counts = part["split"].value_counts()
        lines.append(
            f"{name!s:<20} {part['domain'].iloc[0]:<8} {part['identity'].nunique():>8} {len(part):>8} "
            f"{counts.get('reference', 0):>10} {counts.get('query', 0):>8}"
        )
    return lines


def _trials(study: Study, rows: pd.DataFrame) -> list[str]:
    """One line per trial: where it trains, on how many photos, for how long."""
    trains = trained_on(rows)
    work = [(trial, scope) for trial in study.trials() for scope in scopes(study, rows)]
    lines = [f"{len(work)} trials:"] if work else ["No training."]
    photos = {scope: int((trains & rows["dataset"].isin(scope)).sum()) for _, scope in work}
    where = {scope: "all seen" if study.scope == "joint" else scope[0] for scope in photos}
    if len(work) > _LISTED:
        settings, epochs = len(study.trials()), study.training.epochs
        lines += [
            f"      {settings} settings on {where[scope]:<20} {count} photos x {epochs} epochs"
            for scope, count in photos.items()
        ]
    else:
        lines += [
            f"{number:>4}  {trial.label:<70} {where[scope]:<16} {photos[scope]} photos x {trial.epochs} "
            f"epochs, batch {trial.batch_size}, {trial.input_px} px"
            for number, (trial, scope) in enumerate(work, 1)
        ]
    if study.search == "asha":
        lines.append(
            f"ASHA stops weak trials from epoch {study.asha.grace_epochs} on, so that many will train less."
        )
    return lines + _transfer(study, rows)


def _transfer(study: Study, rows: pd.DataFrame) -> list[str]:
    """One line per variant; how many trainings it has is known before the grid has run, but not which."""
    if study.transfer is None:
        return []
    evaluate = study.transfer.evaluate
    refuse_empty(study, rows)
    most = sum(len(study.trials()) if setting == "grid" else 1 for setting in study.transfer.settings)
    lines = ["", f"Then, on the queries of {', '.join(evaluate)} (at most {most} each):"]
    for variant in study.transfer.variants:
        seen = variant_rows(rows, evaluate, variant)
        learned = seen[trained_on(seen)]
        names = ", ".join(map(str, pd.unique(learned["dataset"])))
        lines.append(f"      {variant:<14} trained on {len(learned)} photos of {names}")
    return lines


def _models(study: Study) -> list[str]:
    """One line per pretrained model: whether its weights are there, and how to get them if not."""
    if not study.baselines.pretrained:
        return []
    lines = ["Pretrained models:"]
    for model in study.baselines.pretrained:
        found = find(model)
        lines.append(
            f"  {model.name:<26} {found.status:<10} {found.input_px:>4} px  {found.sentence}"
            f"{enlarged(study.data.images.short_px, found)}" + (f"; {model.licence}" if model.licence else "")
        )
    return [*lines, ""]


def _matching(study: Study, rows: pd.DataFrame) -> list[str]:
    listed = study.baselines.matching
    if not listed:
        lines = ["No local features."]
    else:
        plain = [config.name for config in listed if config.shortlist is None]
        pairs = pair_count(rows)
        lines = [f"Local features: {', '.join(plain)}; {pairs} query x reference pairs each"]
        lines = lines if plain else []
    for config in listed:
        if config.shortlist is not None:
            pairs = pair_count(rows, most=matched_most(config))
            lines.append(
                f"Local features: {config.name}, behind the {config.shortlist.size} best by "
                f"{config.shortlist.by}; {pairs} pairs"
            )
    for fusion in study.fusion:
        pairs = pair_count(rows, most=fusion.shortlist.size if fusion.shortlist else None)
        lines.append(f"Fusion: {fusion.name} of {' + '.join(fusion.parts)}; {pairs} pairs")
    return lines + _times(study, rows)


def _times(study: Study, rows: pd.DataFrame) -> list[str]:
    """One line per local-feature method that needs no network; none where photos are not there yet."""
    photos = sample(rows, study.data.images) if study.baselines.matching else []
    rates = [(config, pairs_per_second(config, photos)) for config in study.baselines.matching]
    cpus = study.scaling.matching_actors or allotted.cpus()
    lines = [cost(config, rows, rate, cpus) for config, rate in rates if rate]
    return ["Time to match, as measured on a few of these photos here:", *lines] if lines else []


def _memory(study: Study, rows: pd.DataFrame) -> list[str]:
    short = study.data.images.short_px
    photos = len(rows) * short * short * _ASPECT * 3
    lines = ["Estimated memory:", f"  photos, once per node: {photos / _GIB:.2f} GiB"]
    needs = {}
    for trial in {trial.backbone: trial for trial in study.trials()}.values():
        needs[trial.backbone] = need = estimate(trial, workers=max(1, study.scaling.workers))
        lines.append(f"  {trial.backbone}: {_needed(need)}")
        there = psutil.virtual_memory().total
        if need.state + need.activations > _ROOM * there and not torch.cuda.is_available():
            lines.append(
                f"    too much for this machine, which has {there / _GIB:.1f} GiB and no GPU: raise "
                "training.accumulation (which divides the batch), or lower training.input_px"
            )
    return [*lines, *([_work(study, rows, needs)] if needs else [])]


def _work(study: Study, rows: pd.DataFrame, needs: dict[str, Need]) -> str:
    """What all trials of the grid compute, and how long that takes."""
    trains, flop, passes = trained_on(rows), 0, 0
    for scope in scopes(study, rows):
        photos = int((trains & rows["dataset"].isin(scope)).sum())
        for trial in study.trials():
            passes += photos * trial.epochs
            flop += photos * trial.epochs * _STEP * needs[trial.backbone].flop
    return (
        f"Work of the grid: {passes:,} photos passed, {flop / 1e15:,.2f} PFLOP, which is "
        f"{flop / _SUSTAINED / 3600:,.2f} hours if the GPUs sustain {_SUSTAINED / 1e12:.0f} TFLOP/s together"
    )


def _needed(need: Need) -> str:
    state, activations = need.state / _GIB, need.activations / _GIB
    return (
        f"{need.parameters / 1e6:.1f} M parameters, about {state + activations:.1f} GiB per worker "
        f"in fp32 ({state:.2f} weights, gradients and momentum, {activations:.1f} activations; bf16 "
        "nearly halves the latter)"
    )
