"""The parts of the runner that need no cloud: events, archives, progress and reports."""

import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from dataset import DatasetError, open_source
from dataset.reading import Reading
from local import cli, data, report, run
from local.api import Api, ApiAnswer
from local.console import Screen, console
from local.follow import (
    Visit,
    _in_columns,
    _is_shown,
    _JobLogs,
    _left,
    _print_visit,
    _readable,
    _summary,
    _visits,
    _WaitingJob,
)
from local.home import LocalError
from training.hyperparameters import Hyperparameters
from training.search import parse
from training.trials import Trial, trial_line

JPEG = b"\xff\xd8\xff\xd9"  # the start and the end of one, in which the runner sees no fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ('{"a":', "not JSON"),
        ("[1]", "must hold a JSON object"),
        ("", "is empty; write {} for"),
        ("{'dataset': 'x/'}", "not JSON from line 1, column 2 on: names and texts have double quotes"),
        ('{"min_top1": 0.5,}', "no comma follows the last"),
        ("dataset: x/", "not JSON from line 1"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_invalid_event_is_refused_with_a_sentence(tmp_path, text, words):
    path = tmp_path / "event.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LocalError, match=words):
        run._read_event(str(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_event_is_read_in_the_encodings_of_windows(tmp_path, encoding):
    path = tmp_path / "event.json"
    path.write_text('{"dataset": "hündchen/"}', encoding=encoding)
    assert run._read_event(str(path)) == {"dataset": "hündchen/"}


def test_an_event_and_data_that_name_two_datasets_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "event.json"
    path.write_text('{"dataset": "dogs/"}')
    monkeypatch.setattr(run, "LAST_RUN", tmp_path / "last-run.json")
    with pytest.raises(LocalError, match="names a dataset, and DATA=photos another; leave one of them out"):
        run.run("photos", str(path), 4566)


@pytest.mark.parametrize(("text", "number"), [("v3", 0), ("0", 0), ("3", 3)])
def test_a_version_is_a_number(text, number, capsys):
    if number:
        assert cli._parser().parse_args(["promote", "--version", text]).version == number
    else:
        with pytest.raises(SystemExit):
            cli._parser().parse_args(["promote", "--version", text])
        assert f"'{text}' must be the number of a version, such as 1" in capsys.readouterr().err


def test_leaks_are_dropped_in_any_capitals():
    assert cli._parser().parse_args(["run", "--leaks", "Drop"]).leaks == "drop"


def test_every_sample_event_is_read():
    events = Path(run.__file__).parents[1] / "events"
    for path in events.glob("*.json"):
        assert isinstance(run._read_event(str(path)), dict)


@pytest.fixture
def photos(tmp_path):
    for split in ("train", "valid", "test"):
        for breed in ("001.A", "002.B"):
            (tmp_path / "dogs" / split / breed).mkdir(parents=True)
            (tmp_path / "dogs" / split / breed / "1.jpg").write_bytes(JPEG + f"{split}{breed}".encode())
    return tmp_path / "dogs"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "HOME", tmp_path / "home")
    monkeypatch.setattr(data, "EQUAL_PHOTOS", tmp_path / "home" / "equal-photos.txt")
    monkeypatch.setattr(data, "UNREADABLE_PHOTOS", tmp_path / "home" / "unreadable-photos.txt")


def test_equal_photos_make_equal_archives_wherever_they_are(photos, tmp_path):
    first = data.prepare(photos)
    copied = shutil.copytree(photos, tmp_path / "elsewhere", copy_function=shutil.copy)
    assert data.prepare(copied).key == first.key
    (copied / "test" / "001.A" / "1.jpg").write_bytes(JPEG + b"other bytes!")
    assert data.prepare(copied).key != first.key


def test_photos_without_splits_are_split_and_packed_so(tmp_path):
    for n in range(40):
        photo = tmp_path / "dogs" / "ab"[n % 2] / f"{n}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(JPEG + bytes(100 + n))
    prepared = data.prepare(tmp_path / "dogs", Reading((60, 20, 20)))
    assert prepared.listing.counts() == {"train": 24, "valid": 8, "test": 8}
    packed, expected = open_source(prepared.archive).listing, prepared.listing
    assert packed.made_splits == ""
    assert packed.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("text", ["80/20", "80/10/5", "100/0/0", "a/b/c", "80/-10/30", "80,10,10"])
def test_shares_that_cannot_be_are_refused(text, capsys):
    with pytest.raises(SystemExit):
        cli._parser().parse_args(["run", "--split", text])
    assert "percentages of train, valid and test that add up to 100" in capsys.readouterr().err


def test_an_archive_is_uploaded_as_it_is(photos, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "x"), "gztar", photos))
    prepared = data.prepare(archive)
    assert prepared.archive == archive
    assert prepared.key.endswith(".tar.gz")


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty"):
        data.prepare(tmp_path / "empty")


def printed_lines(table):
    """Return the lines of a table as they are printed to a file."""
    output = console()
    with output.capture() as capture:
        output.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_best_and_worst_breeds_are_listed():
    scores = {"per_breed": [{"breed": name, "recall": recall} for name, recall in (("A", 1), ("B", 0.5), ("C", 0.9))]}
    assert printed_lines(report.best_and_worst(scores, 2)) == ["best   A 100%, C 90%", "worst  B 50%, C 90%"]
    faultless = {"per_breed": [{"breed": "A", "recall": 1}]}
    assert "every test photo" in printed_lines(report.best_and_worst(faultless))[1]


def test_checks_of_the_gate_are_printed_in_columns():
    checks = [
        {"name": "floor", "passed": True, "words": "top-1 90.0%"},
        {"name": "breeds", "passed": False, "words": "Pug lost 60 points"},
    ]
    assert printed_lines(report.checklist({"checks": checks})) == (
        ["✓  floor   top-1 90.0%", "✗  breeds  Pug lost 60 points"]
    )


def test_headline_says_how_sure_its_figures_are():
    scores = {"top1": 0.995, "top1_interval": [0.972, 0.9991], "top5": 1, "latency_ms": 9.04, "precision": "int8"}
    assert report.headline(scores) == (
        "top-1 99.5% (97.2% to 99.9% with 95% confidence), top-5 100.0%, 9.0 ms per photo in int8"
    )


def test_an_epoch_is_printed_in_columns():
    line = "epoch=3/20 train_loss=0.4321 valid_loss=0.5 valid_top1=0.8712 photos_per_s=1234.5 eta_s=12.3"
    assert _in_columns(line).split() == (
        ["epoch", "3/20", "loss", "0.4321", "valid", "top-1", "87.1%", "1,234", "photos/s", "12", "s", "left"]
    )


@pytest.mark.parametrize(("other", "photos"), [({}, "photos"), ({"other": 64}, "photos and 64 without a dog")])
def test_the_plan_is_summarized_in_numbers(other, photos):
    plan = {
        "dataset": {"num_classes": 3, "counts": {"train": 1200, "valid": 30, "test": 40, **other}},
        "quote": {"training_per_hour": 0.42},
        "training": {"instance_count": 2, "reused": None, "ec2": None},
        "images": {"training_build": None, "serving_build": None},
    }
    expected = f"3 breeds, 1,200 / 30 / 40 {photos}; training on 2 instances, $0.42 an hour on AWS"
    assert _summary(Visit("Plan", "Task", 0.0, 1.0, plan)) == expected


def test_the_plan_says_what_a_machine_of_ec2_saves():
    plan = {
        "dataset": {"num_classes": 3, "counts": {"train": 12, "valid": 3, "test": 4}},
        "quote": {"training_per_hour": 0.0892, "training_saved": 0.58},
        "training": {"instance_count": 1, "instance_type": "c7i.xlarge", "reused": None, "spot": True},
        "images": {"training_build": None, "serving_build": None},
    }
    plan["training"]["ec2"] = {"ranks": 2}
    assert _summary(Visit("Plan", "Task", 0.0, 1.0, plan)) == (
        "3 breeds, 12 / 3 / 4 photos; training on 1 c7i.xlarge of EC2 (spot), $0.09 an hour on AWS, "
        "58% less than on SageMaker"
    )


def test_the_plan_says_what_is_built_first_and_what_that_takes():
    serving = {"targets": ["evaluate", "serve"]}
    plan = {
        "dataset": {"num_classes": 3, "counts": {"train": 12, "valid": 3, "test": 4}},
        "quote": {"training_per_hour": None, "build": 0.09, "build_minutes": 9},
        "training": {"instance_count": 1, "reused": None, "ec2": None},
        "images": {"training_build": {"targets": ["train"]}, "serving_build": serving},
    }
    begin = "3 breeds, 12 / 3 / 4 photos; training on 1 instance, price not known"
    summary = _summary(Visit("Plan", "Task", 0.0, 1.0, plan))
    assert summary == f"{begin}; builds 3 images: 9 minutes, $0.09 on AWS"
    plan["images"]["serving_build"] = None
    plan["quote"]["build"] = None
    assert _summary(Visit("Plan", "Task", 0.0, 1.0, plan)) == f"{begin}; builds 1 image: 9 minutes, price not known"


class Logs:
    """A cloud whose only client has one log stream."""

    def __init__(self, created: float) -> None:
        self.lines: list[str] = []
        self._stream = {"logStreamName": "kennel-1/algo-1-7", "creationTime": int(1000 * created)}
        self.exceptions = SimpleNamespace(ResourceNotFoundException=KeyError)

    def client(self, _service: str) -> "Logs":
        return self

    def get_paginator(self, operation: str) -> SimpleNamespace:
        pages = {
            "describe_log_streams": [{"logStreams": [self._stream]}],
            "filter_log_events": [{"events": [{"message": line} for line in self.lines]}],
        }[operation]
        return SimpleNamespace(paginate=lambda **_: pages)


def test_log_of_a_training_is_printed_in_each_of_its_states():
    cloud = Logs(created=101.0)
    logs = _JobLogs(cloud, "kennel-")
    assert logs.new_lines(Visit("Train", "Task", 100.0, 100.5)) == []
    cloud.lines += ["mode head", "features 10/20 photos_per_s=100.0 eta_s=0.1"]
    assert logs.new_lines(Visit("AwaitTraining", "Wait", 140.0, 141.0)) == ["mode head"]
    assert logs.progress.startswith("features 10/20")
    assert logs.new_lines(Visit("DescribeTraining", "Task", 141.0)) == []
    cloud.lines.append("trained in 3 s")
    assert logs.new_lines(Visit("PinModel", "Task", 150.0, 150.0)) == ["trained in 3 s"]
    assert logs.progress == ""


def test_a_training_is_one_step_however_often_its_status_is_asked(capsys):
    visits = [
        Visit("Train", "Task", 0.0, 1.0, {}),
        Visit("AwaitTraining", "Wait", 1.0, 3.0),
        Visit("BuildImages", "Task", 1.0, 2.5, {}),
        Visit("DescribeTraining", "Task", 3.0, 3.5, {"status": "InProgress"}),
        Visit("CheckTraining", "Choice", 3.5, 3.5),
        Visit("AwaitTraining", "Wait", 3.5, 6.0),
        Visit("DescribeTraining", "Task", 6.0, 6.5, {"status": "Completed"}),
        Visit("PinModel", "Task", 6.5, 6.5, {"job": "kennel-1"}),
    ]
    for index in range(len(visits)):
        _print_visit(Screen(), visits, index)
    built, trained = capsys.readouterr().out.splitlines()
    assert built.split()[:3] == ["BuildImages", "1.5", "s"]
    assert trained.split() == ["Train", "6.5", "s"]


def test_a_run_that_reuses_a_training_names_its_job(capsys):
    plan = {
        "dataset": {"num_classes": 3, "counts": {"train": 12, "valid": 3, "test": 4}},
        "quote": {"training_per_hour": 0.0},
        "training": {"instance_count": 2, "reused": {"job": "kennel-1-0"}},
        "images": {"training_build": None, "serving_build": None},
    }
    assert _summary(Visit("Plan", "Task", 0.0, 1.0, plan)) == "3 breeds, 12 / 3 / 4 photos; trained before"
    _print_visit(Screen(), [Visit("ReuseTraining", "Pass", 0.0, 0.0, {"job": "kennel-1-0"})], 0)
    line, reason = capsys.readouterr().out.splitlines()
    assert line.split() == ["Train", "reused", "kennel-1-0"]
    assert reason.endswith('{"reuse": false} trains again')


def test_trials_are_printed_in_columns_as_training_logs_them():
    search = parse('{"trials": 64}', Hyperparameters())
    trial = Trial(7, {"learning_rate": 0.01, "sampling": "natural"}, [1, 3, 9], [0.5, 0.625], [1.25, 1.125], 1.26)
    trial.ended = "not among the best quarter after 3 of 9 epochs"
    assert _readable(trial_line(trial, search)) == (
        "trial    7/64   valid top-1  62.5%   not among the best quarter after 3 of 9 epochs   "
        "learning rate 0.01 sampling natural"
    )
    failed = Trial(8, {"pull": 0.1}, [1, 3, 9], ended="failed: the loss became inf (in epoch 1)")
    assert _readable(trial_line(failed, search)) == (
        "trial    8/64   failed: the loss became inf (in epoch 1)   pull 0.1"
    )


def test_plan_says_where_hyperparameters_are_searched_and_why():
    plan = {
        "dataset": {"num_classes": 3, "counts": {"train": 12, "valid": 3, "test": 4}},
        "quote": {"training_per_hour": 0.42},
        "training": {"instance_count": 2, "reused": None, "ec2": None},
        "tuning": {"reason": "8 trials inside the training job: about 0.1 minutes"},
        "images": {"training_build": None, "serving_build": None},
    }
    assert _summary(Visit("Plan", "Task", 0.0, 1.0, plan)) == (
        "3 breeds, 12 / 3 / 4 photos; training on 2 instances, $0.42 an hour on AWS; "
        "8 trials inside the training job: about 0.1 minutes"
    )


def test_the_gates_reason_is_printed():
    visit = Visit("Gate", "Task", 0.0, 1.0, {"decision": "refuse", "reason": "too bad"})
    assert _summary(visit) == "refuse: too bad"


@pytest.mark.parametrize(
    ("document", "problem"),
    [({"detail": "a"}, "a"), ({}, "status 502")],
)
def test_answer_says_what_is_wrong(document, problem):
    assert ApiAnswer("x", 502, document).problem == problem


def test_a_file_that_is_missing_is_an_answer_too(tmp_path):
    answer = next(Api("http://127.0.0.1:1/", "key").classify_files([str(tmp_path / "none.jpg")]))
    assert not answer.ok
    assert "No such file" in answer.problem


def test_records_are_written_whole(tmp_path):
    run.write_json(tmp_path / "new" / "record.json", {"a": 1})
    assert json.loads((tmp_path / "new" / "record.json").read_text()) == {"a": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["record.json"]


def history(*steps):
    """Return a client of Step Functions whose history has an event per step.

    Args:
        steps: tuples of the time in seconds, "Entered" or "Exited", the state's type and its name.
    """
    events = [
        {
            "timestamp": datetime.fromtimestamp(second, UTC),
            "type": f"{kind}State{direction}",
            f"state{direction}EventDetails": {"name": name, "output": json.dumps(f"of {name}")},
        }
        for second, direction, kind, name in steps
    ]
    return SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"events": events}]))


BOTH_BRANCHES = ((0, "Entered", "Parallel", "Both"), (1, "Entered", "Task", "Train"), (2, "Entered", "Task", "Build"))


def test_branches_that_run_side_by_side_keep_their_own_times():
    visits = _visits(
        history(
            *BOTH_BRANCHES,
            (4, "Exited", "Task", "Build"),
            (9, "Exited", "Task", "Train"),
            (9, "Exited", "Parallel", "Both"),
            (10, "Entered", "Task", "Evaluate"),
        ),
        "arn",
    )
    assert [(visit.name, visit.entered, visit.left) for visit in visits] == [
        ("Both", 0, 9),
        ("Train", 1, 9),
        ("Build", 2, 4),
        ("Evaluate", 10, None),
    ]
    assert visits[2].output == "of Build"


def test_states_that_a_failed_branch_ended_are_over_with_their_parallel():
    visits = _visits(history(*BOTH_BRANCHES, (5, "Exited", "Parallel", "Both")), "arn")
    assert [visit.left for visit in visits] == [5, 5, 5]


def test_a_short_state_without_words_is_not_printed(capsys):
    for name, seconds in (("RemoveStagingConfig", 0.05), ("RegisterModel", 0.1)):
        _print_visit(Screen(), [Visit(name, "Task", 0.0, seconds, {})], 0)
    assert capsys.readouterr().out.split() == ["RegisterModel", "0.1", "s"]


def test_states_that_ask_again_until_something_is_gone_have_no_line() -> None:
    for name in ("FindProduction", "FindStaging", "DescribeTouched"):
        assert not _is_shown(Visit(name, "Task", 0.0, 1.0, {}))
    assert _is_shown(Visit("UpdateProduction", "Task", 0.0, 1.0, {}))


class Batch:
    """AWS Batch with one job, which waits."""

    reason = ""

    def client(self, _service):
        return self

    def list_jobs(self, jobQueue, filters):
        assert (jobQueue, filters) == ("arn:queue", [{"name": "JOB_NAME", "values": ["kennel-x-ec2"]}])
        waiting = {"status": "RUNNABLE"} | ({"statusReason": self.reason} if self.reason else {})
        return {"jobSummaryList": [waiting]}


def test_job_that_waits_in_vain_is_told_once_for_each_reason():
    batch = Batch()
    waiting = _WaitingJob(batch)
    training = {"job_name": "kennel-x-ec2", "ec2": {"queue": "arn:queue"}}
    visits = [Visit("Plan", "Task", 0, 1, {"training": training}), Visit("TrainOnEc2", "Task", 1)]
    assert waiting.new_reasons(visits) == []
    batch.reason = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - too much"
    assert waiting.new_reasons(visits) == [f"the job waits for a machine of EC2: {batch.reason}"]
    assert waiting.new_reasons(visits) == []


def test_a_photo_in_two_splits_is_refused_before_anything_is_uploaded_or_left_out_on_request(photos, capsys):
    leaked = photos / "test" / "001.A" / "again.jpg"
    leaked.write_bytes((photos / "train" / "001.A" / "1.jpg").read_bytes())
    with pytest.raises(DatasetError, match=r"two splits.*: 1 \(test/001.A/again.jpg is also train/001.A/1.jpg"):
        data.prepare(photos)
    assert data.EQUAL_PHOTOS.read_text() == "in two splits\ttest/001.A/again.jpg\ttrain/001.A/1.jpg\n"
    prepared = data.prepare(photos, Reading(drop_leaks=True))
    run._describe(prepared, "dogs")
    assert "left out photos that stand in two splits: 1 (test/001.A/again.jpg is also" in " ".join(
        capsys.readouterr().out.split()
    )
    leaked.unlink()
    assert data.prepare(photos).key == prepared.key
    assert not data.EQUAL_PHOTOS.exists()


def test_a_class_that_has_leaked_photos_only_is_refused_even_on_request(photos):
    (photos / "test" / "001.A" / "1.jpg").write_bytes((photos / "train" / "001.A" / "1.jpg").read_bytes())
    with pytest.raises(DatasetError, match=r"class '001.A' has 0 photos in test/"):
        data.prepare(photos, Reading(drop_leaks=True))


def test_a_photo_in_two_classes_is_told(photos, capsys):
    (photos / "train" / "002.B" / "same.jpg").write_bytes((photos / "train" / "001.A" / "1.jpg").read_bytes())
    run._describe(data.prepare(photos), "dogs")
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "photos that stand in two classes, of which a model can learn one: 1 (train/002.B/same.jpg is also" in printed
    )


def test_unreadable_photos_are_listed_and_counted_before_anything_costs(photos, capsys):
    for split, body in (("train", b"%PDF-"), ("test", b"%PDF- "), ("valid", JPEG[:3])):
        (photos / split / "002.B" / "bad.jpg").write_bytes(body)
    whole = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(whole, "JPEG")
    (photos / "test" / "001.A" / "no-end.jpg").write_bytes(whole.getvalue()[:-2] + bytes(100))  # It can be decoded.
    prepared = data.prepare(photos)
    run._describe(prepared, "dogs")
    printed = " ".join(capsys.readouterr().out.split())
    assert "photos that cannot be read and are left out: 3; all of them are in" in printed
    assert "is a PDF: 2 (train 1, test 1; 002.B 2) ends too early: 1 (valid 1; 002.B 1)" in printed
    assert data.UNREADABLE_PHOTOS.read_text().splitlines() == [
        "is a PDF\ttest/002.B/bad.jpg",
        "is a PDF\ttrain/002.B/bad.jpg",
        "ends too early\tvalid/002.B/bad.jpg",
    ]
    (photos / "valid" / "002.B" / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"class '002.B' has 0 photos in valid/.*\{\"drop_breeds\": \[\"002.B\"\]\}"):
        data.prepare(photos)
    for split in ("train", "valid", "test"):
        shutil.copytree(photos / split / "001.A", photos / split / "003.C")
        for photo in (photos / split / "003.C").iterdir():
            photo.write_bytes(photo.read_bytes() + b"C")
    packed = data.prepare(photos, data.reading_of({"drop_breeds": ["b"]})).archive
    kept = open_source(packed, Reading(drop_breeds=("b",))).listing
    assert kept.classes == ("001.A", "003.C")
    assert {file.label for file in kept.left_out} == {"002.B"}  # Plan must find what the request drops.
    (photos / "test" / "004.D").mkdir()
    (photos / "test" / "005.E").mkdir()
    (photos / "test" / "005.E" / "1.jpg").symlink_to("nowhere")
    packed = data.prepare(photos, data.reading_of({"drop_breeds": ["b", "d", "e"]})).archive
    kept = open_source(packed, Reading(drop_breeds=("b", "d", "e"))).listing
    assert {file.label for file in kept.left_out} == {"002.B", "004.D", "005.E"}


def test_the_last_lines_tell_what_the_run_did_without():
    counts = [{"reason": "is a GIF", "count": 2, "splits": {"test": 2}, "classes": {"B": 2}}]
    assert report.left_out([], []) == []
    assert report.left_out(counts, [counts[0] | {"reason": "empty files"}]) == [
        "photos that could not be read: 2",
        "  is a GIF: 2 (test 2; B 2)",
        "files that were left out: 2",
        "  empty files: 2 (test 2; B 2)",
    ]


def test_the_plan_says_what_is_left_out():
    dataset = {
        "unreadable": [{"reason": "is a GIF", "count": 2, "splits": {"test": 2}, "classes": {"B": 2}}],
        "left_out": [{"reason": "empty files", "count": 1, "splits": {}, "classes": {}}],
        "not_compared": 3,
    }
    assert _left(dataset) == (
        "; left out: is a GIF: 2 (test 2; B 2); empty files: 1; photos whose size another split has, too, and that "
        "were not compared: 3"
    )


def test_a_request_with_a_wrong_split_is_refused_before_photos_are_read():
    with pytest.raises(LocalError, match="split: 'x' must be three whole percentages"):
        data.reading_of({"split": "x"})
    assert data.reading_of({"split": "60/20/20", "leaks": "drop"}) == Reading((60, 20, 20), True)
