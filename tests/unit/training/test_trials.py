"""The rounds of a search, its finals and its documents, with real trainings of a small head."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataset import Photo
from training import stopping, trials
from training.checkpoint import Checkpoint
from training.distributed import Cores, World
from training.head import HeadStart, HeadTraining, Samples
from training.hyperparameters import HyperparameterError, Hyperparameters
from training.search import Search, parse
from training.stopping import StopRequestedError
from training.trials import Trainer, Trial, TrialData, TrialRounds, data_of_all_ranks, trial_line
from training.tuned import Finalist, gain, run_finals, tuned_document, winning_settings

WORLD = World(0, 1, 0, 1, torch.device("cpu"), "none", "here")
SETTINGS = Hyperparameters(epochs=9, global_batch_size=16, checkpoint_seconds=0)
SEARCH = '{"trials": 12, "max_parallel": 4, "ranges": {"learning_rate": {"min": 1e-5, "max": 1, "scale": "log"}}}'
CLASSES, WIDTH = 4, 8


def samples(split: str, count: int, seed: int) -> Samples:
    """Return points around one corner for each class, so far apart that a good head names three of four."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    features = torch.randn(count, WIDTH, generator=random) + 1.5 * torch.eye(CLASSES, WIDTH)[labels]
    photos = [Photo(f"{split}/{number:04}.jpg", split, "a", 1) for number in range(count)]
    return Samples(features.half().float(), labels, photos)


def data(valid: Samples | None = None) -> dict[str, TrialData]:
    start = HeadStart(torch.zeros(CLASSES, WIDTH), torch.zeros(CLASSES), torch.ones(CLASSES))
    return {SETTINGS.backbone: TrialData(start, samples("train", 96, 1), valid or samples("valid", 80, 2))}


def trainer(cores: int = 1) -> Trainer:
    return Trainer(WORLD, Cores(["here"], [cores], [cores]), data())


def rounds(folder: Path, search: Search | None = None, cores: int = 1) -> TrialRounds:
    checkpoint = Checkpoint(WORLD, folder / "search.pt", "key", 0)
    return TrialRounds(WORLD, search or parse(SEARCH, SETTINGS), trainer(cores), checkpoint)


def figures(done: list[Trial]) -> list[tuple[object, ...]]:
    """Return all of the trials that must be the same in every run."""
    return [(each.number, each.values, each.ends, each.top1, each.loss, each.ended) for each in done]


def test_every_trial_is_trained_or_ends_early_with_its_reason(tmp_path):
    done = rounds(tmp_path).run()
    assert [each.number for each in done] == list(range(1, 13))
    assert done[0].values == {"learning_rate": 3e-3}
    assert len({each.values["learning_rate"] for each in done}) == 12
    finished = [each for each in done if each.is_finished]
    assert 3 <= len(finished) < 12
    for each in done:
        assert each.ends == [1, 2, 9]
        assert len(each.top1) == len(each.loss) == (3 if each.is_finished else each.ends.index(_last(each)) + 1)
        assert each.ended == (
            "finished" if each.is_finished else f"not among the best quarter after {_last(each)} of 9 epochs"
        )
    first_round = done[:4]
    assert max(first_round, key=lambda each: (each.top1[0], -each.loss[0])) in finished


def _last(trial: Trial) -> int:
    return trial.ends[len(trial.top1) - 1]


def test_a_trials_figures_are_those_of_the_ordinary_training(tmp_path):
    best = min(rounds(tmp_path).run(), key=lambda each: (not each.is_finished, each.loss[-1]))
    each = data()[SETTINGS.backbone]
    settings = replace(SETTINGS, **best.values)
    checkpoint = Checkpoint(WORLD, tmp_path / "head.pt", "key", math.inf)
    training = HeadTraining(WORLD, settings, each.start, each.train, each.valid, 96, checkpoint)
    training.run()
    assert (training.progress.epochs[-1]["valid_loss"], training.valid_top1) == (best.loss[-1], best.top1[-1])


def test_only_the_best_quarter_goes_on(tmp_path):
    done = rounds(
        tmp_path, parse(SEARCH.replace('"trials": 12, "max_parallel": 4', '"trials": 16, "max_parallel": 16'), SETTINGS)
    ).run()
    for reached, kept in ((1, 4), (2, 3)):  # a quarter of 16; a quarter of 4, but at least 3
        rivals = sorted((each for each in done if len(each.top1) >= reached), key=lambda each: _key(each, reached))
        assert {each.number for each in rivals[:kept]} == {each.number for each in done if len(each.top1) > reached}


def _key(trial: Trial, reached: int) -> tuple[float, float, int]:
    return (-trial.top1[reached - 1], trial.loss[reached - 1], trial.number)


def test_the_brackets_of_hyperband_begin_to_compare_later(tmp_path):
    search = parse(SEARCH.replace('"trials"', '"strategy": "hyperband", "trials"'), SETTINGS)
    done = rounds(tmp_path, search).run()
    assert [each.ends for each in done[:4]] == [[1, 2, 9], [2, 9], [9], [1, 2, 9]]
    assert all(each.is_finished for each in done[2::3])


def test_the_result_depends_on_neither_the_cores_nor_the_run(tmp_path):
    first = figures(rounds(tmp_path / "1").run())
    assert figures(rounds(tmp_path / "2").run()) == first
    assert figures(rounds(tmp_path / "3", cores=3).run()) == first
    other = parse(SEARCH.replace('"trials"', '"seed": 1, "trials"'), SETTINGS)
    assert figures(rounds(tmp_path / "4", other).run()) != first


@pytest.mark.parametrize("stop_after", [1, 5, 9, 14])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, stop_after):
    whole = figures(rounds(tmp_path / "whole").run())
    calls = 0
    train_epoch = HeadTraining.train_epoch

    def counting(training, epoch):
        nonlocal calls
        calls += 1
        if calls == stop_after:
            stopping._requested.set()  # what SIGTERM does
        return train_epoch(training, epoch)

    monkeypatch.setattr(HeadTraining, "train_epoch", counting)
    with pytest.raises(StopRequestedError):
        rounds(tmp_path / "cut").run()
    assert calls < sum(each[2][len(each[3]) - 1] for each in whole)
    stopping._requested.clear()
    before = calls
    assert figures(rounds(tmp_path / "cut").run()) == whole
    # What was finished is not trained again, but for the one job that was cut off.
    assert calls - before <= sum(each[2][len(each[3]) - 1] for each in whole) - before + 6


def test_a_killed_search_goes_on_from_its_last_round(tmp_path, monkeypatch):
    whole = figures(rounds(tmp_path / "whole").run())
    cut = rounds(tmp_path / "cut")
    take, taken = TrialRounds._take, []

    def dying(self, results, numbers):
        taken.append(numbers)
        if len(taken) == 3:
            raise KeyboardInterrupt
        take(self, results, numbers)

    monkeypatch.setattr(TrialRounds, "_take", dying)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    again = rounds(tmp_path / "cut")
    assert figures(again.run()) == whole
    assert taken[3] == taken[2]  # The round that was lost is the first that is trained again.


def test_a_trial_that_fails_ends_and_the_others_go_on(tmp_path):
    """One of two backbones answers with features that are not finite."""
    search = parse(
        '{"trials": 4, "ranges": {"backbone": ["efficientnet_lite2", "broken"], "epochs": [3, 9]}}', SETTINGS
    )
    good = data()[SETTINGS.backbone]
    features = torch.full_like(good.train.features, math.inf)
    both = {SETTINGS.backbone: good, "broken": replace(good, train=replace(good.train, features=features))}
    training = Trainer(WORLD, Cores(["here"], [2], [2]), both)
    done = TrialRounds(WORLD, search, training, Checkpoint(WORLD, tmp_path / "x.pt", "k", 0)).run()
    assert [each.is_finished for each in done] == [True, True, False, False]
    for each in done[2:]:
        assert each.ended.startswith("failed: training: the loss became ")
        assert each.top1 == []


def test_a_search_without_any_good_trial_is_refused(tmp_path):
    search = parse('{"trials": 2, "ranges": {"learning_rate": [9.0, 10.0]}}', SETTINGS)
    training = trainer()
    broken = torch.full_like(training._data[SETTINGS.backbone].train.features, math.inf)
    object.__setattr__(training._data[SETTINGS.backbone].train, "features", broken)
    with pytest.raises(HyperparameterError, match="tune: all 2 trials failed, the last because training: the loss"):
        TrialRounds(WORLD, search, training, Checkpoint(WORLD, tmp_path / "x.pt", "k", 0)).run()


def test_time_that_is_too_short_for_one_trial_is_refused(tmp_path):
    search = replace(parse(SEARCH, SETTINGS), minutes=1e-9)
    with pytest.raises(HyperparameterError, match="1e-09 minutes were used up before the first trial was finished"):
        rounds(tmp_path, search).run()


def test_the_trials_of_the_time_decide(tmp_path, monkeypatch):
    """The clock jumps once enough trials are finished; those that still train end, and no other begins."""
    ending = rounds(tmp_path, parse(SEARCH.replace('"max_parallel": 4', '"max_parallel": 2'), SETTINGS))
    monkeypatch.setattr(ending, "_is_over", lambda _: sum(each.is_finished for each in ending.trials) >= 1)
    done = ending.run()
    assert any(each.is_finished for each in done)
    assert len(done) < 12
    assert "the time was used up" in {each.ended for each in done}


def test_lines_of_trials_have_the_figures_but_not_those_that_sagemaker_reads(tmp_path):
    search = parse(SEARCH, SETTINGS)
    trial = Trial(7, {"learning_rate": 0.01}, [1, 2, 9], [0.5, 0.625], [1.25, 1.125], 1.26)
    line = "trial=7/12 epochs=2/9 trial_top1=0.6250 trial_loss=1.1250 cpu_s=1.3 learning_rate=0.01 (goes on)"
    assert trial_line(trial, search) == line
    assert "valid_top1=" not in line


def test_every_rank_gets_all_photos_in_the_same_order(monkeypatch):
    whole = samples("train", 10, 1)
    shares = [Samples(whole.features[r::2], whole.labels[r::2], whole.photos[r::2]) for r in (0, 1)]
    parts = [(each.features.half(), each.labels, each.photos) for each in shares]
    monkeypatch.setattr(trials, "gather", lambda _world, _own: parts)
    start = data()[SETTINGS.backbone].start
    both = data_of_all_ranks(WORLD, start, shares[0], shares[0])
    assert torch.equal(both.train.features, whole.features)
    assert torch.equal(both.train.labels, whole.labels)
    assert list(both.train.photos) == list(whole.photos)


def test_jobs_are_shared_by_length_and_each_is_done_once():
    settings = SETTINGS
    jobs = {number: trials.Job(settings, epochs, None) for number, epochs in enumerate([9, 1, 1, 9, 3, 3, 1, 1])}
    cores = Cores(["a", "b"], [1, 2], [1, 2])
    owned = [Trainer(replace(WORLD, rank=rank, world_size=2), cores, {})._own(jobs) for rank in (0, 1)]
    assert sorted(owned[0] + owned[1]) == list(range(8))
    lengths = [sum(trials._length(jobs[number]) for number in own) for own in owned]
    assert 1.5 < lengths[1] / lengths[0] < 2.5


def test_the_best_three_and_the_defaults_are_trained_again_with_other_seeds(tmp_path):
    search = parse(SEARCH, SETTINGS)
    done = rounds(tmp_path).run()
    checkpoint = Checkpoint(WORLD, tmp_path / "finals.pt", "key", 0)
    finalists = run_finals(WORLD, search, trainer(), done, checkpoint)
    best = sorted((each for each in done if each.is_finished), key=lambda each: each.rank("valid_top1"))[:3]
    assert {each.trial for each in finalists} - {0} == {each.number for each in best}
    assert any(each.values == {"learning_rate": 3e-3} for each in finalists)
    assert all(each.seeds == [1, 2] for each in finalists)
    means = [each.mean_top1() for each in finalists]
    assert means == sorted(means, reverse=True)
    for each in finalists:  # The share of correct photos is the accuracy.
        assert float(each.correct.mean()) == pytest.approx(each.mean_top1())
    again = run_finals(WORLD, search, trainer(), done, checkpoint)  # from the checkpoint
    assert [each.top1 for each in again] == [each.top1 for each in finalists]
    document = tuned_document(WORLD, search, done, finalists, 3.2)
    assert document["winner"] == finalists[0].trial
    assert document["train_again"]["hyperparameters"] == {
        **vars(winning_settings(search, finalists)),
        "mode": "head",
        "seed": 0,
    }
    assert len(document["trials"]) == 12
    assert all(each["ended"] for each in document["trials"])


def test_the_seeds_after_the_last_are_the_first(tmp_path):
    search = parse(SEARCH, Hyperparameters(**{**vars(SETTINGS), "seed": 2**31 - 2}))
    finalists = run_finals(
        WORLD, search, trainer(), rounds(tmp_path).run(), Checkpoint(WORLD, tmp_path / "f", "key", 0)
    )
    assert finalists
    assert all(each.seeds == [2**31 - 1, 0] for each in finalists)


def test_without_a_training_with_the_defaults_nothing_is_said_to_be_gained():
    said = gain(parse(SEARCH, SETTINGS), [finalist(4, 0.02, [1.0] * 9)])
    assert (said["top1"], said["interval"], said["gained"]) == (None, None, False)


def finalist(trial: int, rate: float, right: list[float]) -> Finalist:
    top1 = sum(right) / len(right)
    return Finalist(trial, {"learning_rate": rate}, [1, 2], [top1, top1], [1.0, 1.0], 1.0, torch.tensor(right).double())


def test_a_gain_is_said_with_its_interval():
    """100 photos: 10 more are right, so the difference has mean 0.1, deviation 0.3015 and standard error 0.03015."""
    search = parse(SEARCH, SETTINGS)
    defaults, better = [1.0] * 60 + [0.0] * 40, [1.0] * 70 + [0.0] * 30
    said = gain(search, [finalist(4, 0.02, better), finalist(1, 3e-3, defaults)])
    assert said["top1"] == pytest.approx(0.1)
    assert said["interval"] == pytest.approx([0.1 - 1.96 * 0.030151, 0.1 + 1.96 * 0.030151], abs=1e-5)
    assert (said["gained"], said["photos"]) == (True, 100)
    assert said["sentence"] == (
        "the winner gains +10.00 points on the same 100 validation photos (+4.09 to +15.91 with 95% confidence)"
    )


def test_nothing_gained_is_said_when_the_interval_includes_zero():
    search = parse(SEARCH, SETTINGS)
    defaults, other = [1.0] * 60 + [0.0] * 40, [0.0] * 5 + [1.0] * 61 + [0.0] * 34
    said = gain(search, [finalist(4, 0.02, other), finalist(1, 3e-3, defaults)])
    assert not said["gained"]
    assert said["sentence"].startswith("nothing gained: +1.00 points on the same 100 validation photos (-5.")
    same = gain(search, [finalist(1, 3e-3, defaults), finalist(4, 0.02, other)])
    assert same["sentence"] == "nothing gained: no other hyperparameters are better than the defaults"
    assert same["interval"] == [0.0, 0.0]
