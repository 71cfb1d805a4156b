import json
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from metaflow_hpo.collect.search import search
from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.command import learner_from_command
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.modalities.opaque import read_opaque

TASK = read_opaque({"task_id": "digits", "metric": "accuracy", "data": "a b.npz"})
X = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}}
FULL = {
    "lr": {"type": "float", "low": 1e-6, "high": 0.1, "log": True},
    "optimizer": ["sgd", "adam"],
    "momentum": {"type": "float", "low": 0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
    "flag": [True, None, 3],
}
FIXED = {"task": "digits", "data": "a b.npz", "seed": "7", "fidelity": "4"}


@pytest.fixture
def script(tmp_path):
    """Return what writes a script; `x` in it is the hyperparameter, `say` prints JSON."""

    def write(body):
        path = tmp_path / "train.py"
        head = "import json, os, signal, sys, time\nx = float(sys.argv[1])\n"
        head += "def say(**values):\n    print(json.dumps(values), flush=True)\n"
        path.write_text(head + textwrap.dedent(body))
        return [sys.executable, str(path), "{x}"]

    return write


def run(arguments, *, x=0.25, count=1, judge=None, limits=None, fidelity=4, **options):
    learner = learner_from_command(arguments, X, fidelity=4, **options)
    if limits is not None:
        learner = learner.within(limits)
    configurations = [{"x": x + number / 10} for number in range(count)]
    trained = dict(learner.train(TASK, configurations, fidelity=fidelity, seed=7, judge=judge))
    return trained[0] if count == 1 else [trained[number] for number in range(count)]


def fill(command, configuration, space=FULL):
    return learner_from_command(command, space).fill(configuration, FIXED)


COMMAND = "python train.py --lr {lr} --opt={optimizer} --momentum {momentum} -f {flag} --data {data} {seed}"


def test_placeholders_become_arguments_and_inactive_ones_take_their_option_along():
    assert fill(COMMAND, {"lr": 1e-5, "optimizer": "sgd", "momentum": 0.5, "flag": True}) == [
        *("python", "train.py", "--lr", "1e-05", "--opt=sgd", "--momentum", "0.5", "-f", "true"),
        *("--data", "a b.npz", "7"),
    ]
    assert fill(COMMAND, {"lr": 0.1, "optimizer": "adam", "flag": None}) == [
        *("python", "train.py", "--lr", "0.1", "--opt=adam", "-f", "null", "--data", "a b.npz", "7"),
    ]


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ("--momentum {momentum}", []),
        ("--set momentum={momentum}", []),
        ("--momentum={momentum}", []),
        ("{momentum}", []),
        ("--verbose=1 {momentum}", ["--verbose=1"]),
        ("-1 {momentum}", ["-1"]),
        ("-- {momentum}", ["--"]),
        ("plain {momentum}", ["plain"]),
        ("--pair {momentum} {lr}", ["0.1"]),
        ("--pair {lr}/{momentum}", []),
        ("--seed {seed} {momentum}", ["--seed", "7"]),
    ],
)
def test_what_an_inactive_hyperparameter_takes_away(part, left):
    command = f"run {{lr}} {{optimizer}} {{flag}} {part}"
    assert fill(command, {"lr": 0.1, "optimizer": "adam", "flag": 3})[4:] == left


@pytest.mark.parametrize("value", ["a b", "it's", '"q"', "$HOME; rm -rf x", "-x", "--y=z", "ü→", "{seed}", "a\nb", "*"])
def test_text_travels_as_it_is(value, tmp_path):
    script = tmp_path / "echo.py"
    script.write_text("import json, sys\nprint(json.dumps({'score': float(sys.argv[1] == json.loads(sys.argv[2]))}))\n")
    learner = learner_from_command(
        [sys.executable, str(script), "{text}", json.dumps(value).replace("{", "\\u007b")], {"text": [value, "other"]}
    )
    [(_, outcome)] = learner.train(TASK, [{"text": value}], fidelity=1, seed=0)
    assert outcome.performance == 1.0


def test_reports_and_result_are_read_between_lines_of_a_log(script):
    outcome = run(
        script("""
        print("loading {not json}")
        say(step=1, score=0.25); print(json.dumps([1])); print(json.dumps({"epoch": 3}))
        say(step=2, score=x)
        print("warning", file=sys.stderr); print(json.dumps({"score": 0.1}), file=sys.stderr)
        say(score=0.5, test_score=0.75, f1=0.4)
        """)
    )
    assert (outcome.reason, outcome.performance, outcome.test_performance) == ("", 0.5, 0.75)
    assert outcome.learning_curve == (0.25, 0.25)
    assert outcome.scores == {"f1": 0.4, "accuracy": 0.5, "test_accuracy": 0.75}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("print('one'); sys.exit('broken pipe')", "error: exit code 1; its last lines: one | broken pipe"),
        ("say(score=0.5); sys.exit(3)", 'error: exit code 3; its last lines: {"score": 0.5}'),
        ("", 'error: no score: it ended without a line {"score": ...}; it printed nothing'),
        ("say(step=1, score=0.5)", "error: no score: it ended without"),
        ("print(x * 'abc' if False else '\\x00\\x1b[31mgarbage')", "its last lines:   [31mgarbage"),
        ("say(score='high')", 'no number: expected score as a number, got \'high\'; its last lines: {"score": "high"}'),
        ("say(score=None)", "no number: expected score as a number, got None"),
        ("say(score=True)", "no number: expected score as a number, got True"),
        ("say(score=float('nan'))", 'diverged: score is nan; its last lines: {"score": NaN}'),
        ("say(score=97)", "error: score 97 lies outside 0.0 to 1.0 of accuracy"),
        ("say(step='one', score=0.5); say(score=0.5)", "error: a step must be a whole number of 0 or more, got 'one'"),
        ("say(step=1); say(score=0.5)", "error: a score must be a number, got None"),
        ("say(failed='no data')", 'failed: no data; its last lines: {"failed": "no data"}'),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed: killed by signal 11; it printed nothing"),
        ("raise ValueError('é' * 9)", "ValueError: ééééééééé"),
        ("sys.stdout.buffer.write(b'{\\xff\\xfe'); sys.exit(1)", "its last lines: {\ufffd\ufffd"),
    ],
)
def test_what_goes_wrong_is_a_failed_trial_that_quotes_the_last_lines(script, body, reason):
    outcome = run(script(body))
    assert reason in outcome.reason
    assert outcome.performance is None
    assert not outcome.stopped
    assert len(outcome.reason) < 1500


def test_a_hundred_megabytes_of_output_are_read_in_bounded_memory(script):
    body = """
    line = b"x" * 1_000_000
    for number in range({count}):
        sys.stdout.buffer.write(line + {end!r}); sys.stderr.buffer.write(line)
    sys.stdout.buffer.write(b"\\n"); sys.stdout.flush()
    say(score=0.5)
    """
    before = _peak_mb()
    for end in (b"", b"\n"):
        assert run(script(body.format(count=50, end=end))).performance == 0.5
    assert _peak_mb() - before < 50


def _peak_mb():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class StopAt:
    def __init__(self, *checkpoints):
        self.checkpoints = checkpoints

    def __call__(self, curve):
        return "stopped: too low" if curve[-1] < 0.5 else ""


def test_a_judge_ends_the_command_with_sigterm(script, tmp_path):
    outcome = run(
        script(f"""
        def leave(*_):
            open({str(tmp_path / "left")!r}, "w").write("x"); say(step=4, score=0.9); sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        for step in range(1, 100):
            say(step=step, score=0.1); time.sleep(0.2)
        """),
        judge=StopAt(2),
    )
    assert (outcome.stopped, outcome.reason) == (True, "stopped: too low")
    assert outcome.learning_curve == (0.1, 0.1)
    assert (tmp_path / "left").is_file()


CHILDREN = """
import subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({path!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_limit_of_time_ends_the_whole_process_group_even_where_it_ignores_sigterm(script, tmp_path, monkeypatch):
    monkeypatch.setattr("metaflow_hpo.learners.command.GRACE_S", 0.5)
    path = tmp_path / "pids"
    outcome = run(script(CHILDREN.format(path=str(path))), limits=Limits(seconds=4))
    assert outcome.reason == "time: more than 4 s (before its first report)"
    pids = [int(pid) for pid in path.read_text().split()]
    assert wait_for(lambda: not any(map(is_alive, pids)))


def test_a_limit_of_memory_ends_the_command(script):
    outcome = run(script("held = b'1' * 300_000_000; time.sleep(600)"), limits=Limits(memory_mb=200))
    assert re.fullmatch(r"memory: needs \d{3} MB, limit 200 MB", outcome.reason)


def test_a_child_that_outlives_the_command_does_not_hold_it_up(script, monkeypatch):
    monkeypatch.setattr("metaflow_hpo.learners.command.GRACE_S", 0.5)
    began = time.monotonic()
    body = "import subprocess; subprocess.Popen(['sleep', '600']); say(score=0.5)"
    assert run(script(body)).performance == 0.5
    assert time.monotonic() - began < 300  # of the child's 600


def test_workers_run_side_by_side_and_closing_ends_them(script, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    body = f"""
    open(os.path.join({str(folder)!r}, sys.argv[1]), "w").close()
    while len(os.listdir({str(folder)!r})) < 4:  # for ever, if they ran one by one
        time.sleep(0.01)
    say(score=x)
    """
    outcomes = run(script(body), count=4, workers=4)
    assert [outcome.performance for outcome in outcomes] == pytest.approx([0.25, 0.35, 0.45, 0.55])
    path = tmp_path / "pid"
    body = f"""
    if x < 0.2:
        say(score=x); sys.exit(0)
    open({str(path)!r}, "w").write(str(os.getpid())); time.sleep(600)
    """
    learner = learner_from_command(script(body), X, workers=2)
    trained = learner.train(TASK, [{"x": 0.1}, {"x": 0.9}], fidelity=1, seed=0)
    assert next(trained)[0] == 0
    assert wait_for(lambda: path.is_file() and path.read_text())
    trained.close()
    assert wait_for(lambda: not is_alive(int(path.read_text())))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_the_command(script, tmp_path, workers):
    path = tmp_path / "pids"
    arguments = script(CHILDREN.format(path=str(path)))
    code = f"""
from metaflow_hpo.learners import command
from metaflow_hpo.modalities.opaque import read_opaque
command.GRACE_S = 0.5
learner = command.learner_from_command({arguments!r}, {X!r}, workers={workers})
task = read_opaque({{"task_id": "digits", "metric": "accuracy"}})
list(learner.train(task, [{{"x": 0.5}}, {{"x": 0.6}}], fidelity=1, seed=0))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    assert wait_for(lambda: path.is_file() and len(path.read_text().split()) == 2)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=240)[1]
    pids = [int(pid) for pid in path.read_text().split()]
    assert wait_for(lambda: not any(map(is_alive, pids)))


@pytest.mark.parametrize("program", ["no_such_program", "/", "/etc/hostname"])
def test_a_program_that_cannot_be_started_is_an_error(program):
    with pytest.raises(MetaflowHPOError, match="Expected a program that can be started"):
        run([program, "{x}"])


def test_a_command_that_is_wrong_for_every_trial_stops_the_search(script):
    kept = []
    learner = learner_from_command(script("import no_such_module_here"), X)
    with pytest.raises(MetaflowHPOError, match=r"first 3 of 'train' on digits all failed alike.*no_such_module_here"):
        search(TASK, learner, strategy="sobol", trials=20, on_trial=kept.append)
    assert kept == []


def test_shorter_trainings_need_the_placeholder(script):
    with pytest.raises(SearchSpaceMismatchError, match=r"Shorter trainings need the placeholder \{fidelity\}"):
        run(script("say(score=0.5)"), fidelity=2)
    outcome = run([*script("say(score=float(sys.argv[2]) / 10)"), "{fidelity}"], fidelity=2)
    assert outcome.performance == 0.2


@pytest.mark.parametrize(
    ("command", "space", "message"),
    [
        ("", X, "got an empty one"),
        ("python 'train.py {x}", X, "No closing quotation"),
        ("python train.py", X, r"no placeholder for \['x'\]; write say --x {x}"),
        ("python train.py {x} {lr}", X, r"Unknown placeholders \['lr'\] in the command; expected x, task, data, seed"),
        ("python train.py {seed}", {"seed": [1, 2]}, r"\['seed'\] are placeholders of a command"),
    ],
)
def test_a_command_that_cannot_work_is_refused(command, space, message):
    with pytest.raises(SearchSpaceMismatchError, match=message):
        learner_from_command(command, space)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python train.py {x}", "train"),
        ("python -u src/my-model.py --config a.yaml {x}", "my-model"),
        ("./fit {x}", "fit"),
        ("python -m trainer {x} 0.5", "python"),
        (["/opt/My Trainer.sh", "{x}"], "My_Trainer"),
    ],
)
def test_a_learner_is_named_after_its_script_or_program(command, name):
    assert learner_from_command(command, X).name == name
    assert learner_from_command(command, X, name="own").name == "own"


@pytest.mark.parametrize("active", [True, False])
def test_python_is_that_of_the_active_environment_or_else_ours(monkeypatch, script, tmp_path, active):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho '{\"score\": 0.25}'\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path) if active else "")
    _, *rest = script("say(score=0.5)")
    assert run(["python", *rest]).performance == (0.25 if active else 0.5)
