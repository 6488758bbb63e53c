import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.study.toy import SKILL, pretend
from torsor.errors import CheckpointError, ConfigError, DataError, NonFiniteError, UnknownNameError
from torsor.io import locked, read_json, write_json
from torsor.study import StudyConfig, analyse, read_study, run_study
from torsor.study.plan import grid_specs
from torsor.study.runner import InThisProcess
from torsor.study.runs import _digest
from torsor.tasks.molecules import MoleculesConfig
from torsor.training import TrainConfig

TOY = {"name": "tests.study.toy:ToyConfig"}


def study(**changes):
    settings = {
        "task": TOY,
        "strict": {"name": "egnn"},
        "plain": {"name": "mlp"},
        "train": TrainConfig(steps=10, batch_size=4),
        "sizes": (8, 32, 128),
        "seeds": (0, 1, 2),
        "bootstrap": 200,
        "workers": 0,
    }
    return StudyConfig(**{**settings, **changes})


def calls(directory):
    return {path.parent.name: int(path.read_text()) for path in directory.glob("runs/*/calls")}


def test_verdict_of_a_clear_gap(tmp_path):
    findings = run_study(study(), tmp_path, run=pretend)
    assert findings.verdict == "MATTERS"
    assert findings.ratio.estimate == pytest.approx(2.0, rel=0.05)
    assert findings.multiplier.estimate == pytest.approx(4.0, rel=0.15)
    assert findings.trend in ("PARALLEL", "UNRESOLVED")
    assert findings.recommended == "strict"
    assert findings.arm("plain").law.exponent == pytest.approx(0.5, abs=0.05)
    assert findings.arm("strict").share[-1].estimate == 0.0
    assert (findings.finished, findings.missing, findings.failed) == (27, 0, ())


def test_equal_operations_give_cheap_arms_more_steps(tmp_path):
    config = study(equal="flops", sizes=(8,), seeds=(0, 1))
    run_study(config, tmp_path, run=pretend)
    costs = read_json(tmp_path / "study.json")["costs"]
    specs = grid_specs(config, dict.fromkeys(costs, 1e-3), costs)
    taken = {spec.arm: spec.train["steps"] * costs[spec.arm] for spec in specs}
    assert costs["strict"] != costs["plain"] == costs["augmented"]
    assert all(abs(flops - 10 * costs["strict"]) <= costs[arm] / 2 for arm, flops in taken.items())
    assert {spec.budget for spec in specs} == {10}


def test_costs_are_measured_once(tmp_path, monkeypatch):
    config = study(equal="flops", sizes=(8,), seeds=(0, 1))
    found = run_study(config, tmp_path, run=pretend)
    monkeypatch.setattr("torsor.study.runner.measure_costs", None)
    assert run_study(config, tmp_path, run=pretend) == found
    assert analyse(tmp_path) == found


def test_arms_can_have_steps_or_operations_in_common_and_nothing_else():
    with pytest.raises(UnknownNameError, match="flops"):
        study(equal="seconds")


def test_step_counts_give_the_compute_multiplier_and_the_cross_over_of_the_laws(tmp_path):
    findings = run_study(study(steps=(1, 3)), tmp_path, run=pretend)
    compute = findings.compute
    assert compute.steps == (1, 3, 10)
    assert findings.finished == 27 + 2 * 9
    assert compute.arm("strict").flops == (4e8, 1.2e9, 4e9)
    assert compute.arm("augmented+tta").flops == compute.arm("augmented").flops == (1e8, 3e8, 1e9)
    assert [x.estimate for x in compute.arm("plain").loss][-1] == findings.arm("plain").loss[-1].estimate
    plain = compute.arm("plain")
    # losses 0.2 (C / 1e9)^-0.2 and 0.1 (C / 4e9)^-0.4: what plain reaches with 1e9 strict reaches with 4e9 / 2^2.5
    assert plain.multiplier.estimate == pytest.approx(2**0.5, rel=0.15)
    assert plain.multiplier.low < 2**0.5 < plain.multiplier.high
    assert plain.cross_over.estimate == pytest.approx(0.5**5 * 16e9, rel=0.3)
    assert plain.cross_over.low < 0.5**5 * 16e9 < plain.cross_over.high
    assert plain.ahead == "strict"
    assert plain.law.exponent == pytest.approx(0.2, abs=0.02)
    assert compute.arm("strict").law.exponent == pytest.approx(0.4, abs=0.02)
    assert compute.arm("strict").multiplier.estimate == 1.0


def test_runs_of_smaller_step_counts_leave_the_verdict_alone_and_add_to_a_finished_study(tmp_path):
    before = run_study(study(), tmp_path, run=pretend)
    assert before.compute is None
    asked = calls(tmp_path)
    after = run_study(study(steps=(5,)), tmp_path, run=pretend)
    assert len(calls(tmp_path)) == len(asked) + 9
    assert all(calls(tmp_path)[key] == 1 for key in asked)
    same = ("verdict", "ratio", "multiplier", "change", "trend", "recommended")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert [arm.loss for arm in after.arms] == [arm.loss for arm in before.arms]
    assert [arm.law for arm in after.arms] == [arm.law for arm in before.arms]


def test_a_failed_step_count_leaves_the_rest_of_the_study(tmp_path):
    def failing(spec, directory):
        record = pretend(spec, directory)
        return replace(record, failed="loss", tested=None) if spec.train["steps"] == 3 and spec.arm == "plain" else record

    findings = run_study(study(steps=(1, 3)), tmp_path, run=failing)
    assert findings.verdict == "MATTERS"
    assert len(findings.failed) == 3
    plain = findings.compute.arm("plain")
    assert math.isnan(plain.flops[1])
    assert math.isnan(plain.multiplier.estimate)
    assert plain.ahead == ""
    assert findings.compute.arm("augmented").multiplier.estimate > 0


@pytest.mark.parametrize("steps", [(10,), (3, 1), (1, 1), (0, 3), (3, 20)])
def test_step_counts_are_smaller_than_that_of_the_other_runs_and_ascend(steps):
    with pytest.raises(ConfigError, match=r"give step counts below train.steps = 10, smallest first"):
        study(steps=steps)


def test_averaged_arm_has_no_training_of_its_own(tmp_path):
    findings = run_study(study(), tmp_path, run=pretend)
    assert {key.split("-n")[0] for key in calls(tmp_path)} == {"strict", "augmented", "plain"}
    assert findings.arm("augmented+tta").test_flops == 16 * findings.arm("augmented").test_flops


def test_study_killed_anywhere_repeats_nothing_and_gives_the_same_findings(tmp_path):
    small = study(sizes=(8, 32), seeds=(0, 1))
    run_study(small, tmp_path / "whole", run=pretend)
    for stop_after in (1, 7):
        done = 0

        def killed(spec, directory, limit=stop_after):
            nonlocal done
            if done == limit:
                raise KeyboardInterrupt
            done += 1
            return pretend(spec, directory)

        root = tmp_path / str(stop_after)
        with pytest.raises(KeyboardInterrupt):
            run_study(small, root, run=killed)
        run_study(small, root, run=pretend)
        assert set(calls(root).values()) == {1}
        assert (root / "findings.json").read_text() == (tmp_path / "whole" / "findings.json").read_text()


def test_two_processes_do_not_run_a_study_in_one_directory(tmp_path):
    with locked(tmp_path), pytest.raises(CheckpointError, match=r"is in use by process \d+ on "):
        run_study(study(), tmp_path, run=pretend)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_more_seeds_run_only_what_is_new(tmp_path):
    run_study(study(), tmp_path, run=pretend)
    before = calls(tmp_path)
    findings = run_study(study(seeds=(0, 1, 2, 3)), tmp_path, run=pretend)
    assert findings.finished == 36
    assert all(calls(tmp_path)[key] == 1 for key in before)
    assert len(calls(tmp_path)) == 36


def test_changed_settings_never_reuse_old_runs(tmp_path):
    run_study(study(), tmp_path, run=pretend)
    run_study(study(train=TrainConfig(steps=11, batch_size=4)), tmp_path, run=pretend)
    assert len(calls(tmp_path)) == 54


def test_failed_runs_are_named_and_left_out(tmp_path):
    def failing(spec, directory):
        record = pretend(spec, directory)
        if (spec.arm, spec.size, spec.seed) == ("plain", 128, 1):
            return type(record)(
                record.key, spec.arm, spec.size, spec.seed, spec.learning_rate, "step 3: loss is nan", record.order, record.test_set
            )
        return record

    findings = run_study(study(), tmp_path, run=failing)
    assert len(findings.failed) == 1
    assert "plain, 128 samples, seed 1" in findings.failed[0]
    assert "step 3: loss is nan" in findings.failed[0]
    assert math.isnan(findings.arm("plain").runs[-1][1])
    assert findings.verdict == "MATTERS"


def test_every_run_of_an_arm_failing_gives_no_verdict(tmp_path):
    def failing(spec, directory):
        record = pretend(spec, directory)
        if spec.arm == "plain":
            return type(record)(record.key, spec.arm, spec.size, spec.seed, spec.learning_rate, "nan", record.order, record.test_set)
        return record

    findings = run_study(study(), tmp_path, run=failing)
    assert findings.verdict == "INCONCLUSIVE"
    assert "no finished run" in findings.reason
    assert len(findings.failed) == 9


def test_one_seed_and_three_sizes_give_no_verdict(tmp_path):
    findings = run_study(study(seeds=(0,)), tmp_path, run=pretend)
    assert findings.verdict == "INCONCLUSIVE"
    assert "two or more seeds" in findings.reason


def test_arms_that_do_not_beat_a_trivial_baseline_give_no_verdict(tmp_path):
    def hopeless(spec, directory):
        record = pretend(spec, directory)
        tested = {
            arm: type(result)(tuple(1000 * e for e in result.errors), result.spread, result.share, result.flops)
            for arm, result in record.tested.items()
        }
        return type(record)(**{**vars(record), "tested": tested})

    findings = run_study(study(), tmp_path, run=hopeless)
    assert findings.verdict == "INCONCLUSIVE"
    assert "baseline 'zero'" in findings.reason
    assert any("not better than the best baseline" in line for line in findings.cautions)


def test_the_best_of_several_baselines_has_to_be_beaten(tmp_path):
    run_study(study(), tmp_path, run=pretend)
    facts = read_json(tmp_path / "study.json")
    facts["task"]["baselines"] = {"poor": 1e9, "good": 1e-9}
    write_json(tmp_path / "study.json", facts)
    findings = analyse(tmp_path)
    assert findings.verdict == "INCONCLUSIVE"
    assert "no arm is better than the baseline 'good'" in findings.reason


def test_of_arms_that_cannot_be_told_apart_the_cheapest_is_recommended(tmp_path):
    def alike(spec, directory):
        record = pretend(spec, directory)
        own = record.tested[spec.arm]
        skill = SKILL[spec.arm] * (1.03 if spec.arm == "strict" else 1) * math.exp(0.01 * spec.seed * (spec.arm == "plain"))
        return replace(record, tested={spec.arm: replace(own, errors=tuple(error / skill for error in own.errors))})

    findings = run_study(study(arms=("plain",), sizes=(8,)), tmp_path, run=alike)
    assert findings.ratio.low < 1 < findings.ratio.high
    assert findings.recommended == "plain"  # strict takes twice as long
    assert "cannot be told apart" in findings.recommendation
    strict, plain = (findings.arm(name).loss[0].estimate for name in ("strict", "plain"))
    assert strict < plain


def test_learning_rates_are_tuned_alike_for_every_trained_arm(tmp_path):
    findings = run_study(study(learning_rates=(1e-4, 1e-3, 1e-2)), tmp_path, run=pretend)
    assert {arm.learning_rate for arm in findings.arms} == {1e-3}
    # three trials an arm, of which the best is also a run of the grid
    assert len(calls(tmp_path)) == 27 + 3 * 2


def test_wrong_group_control_is_never_recommended(tmp_path):
    findings = run_study(study(arms=("wrong-group",), seeds=(0, 1)), tmp_path, run=pretend)
    assert [arm.name for arm in findings.arms] == ["strict", "plain", "wrong-group"]
    assert findings.recommended == "strict"


def test_runs_on_different_test_sets_are_not_compared(tmp_path):
    def shifting(spec, directory):
        record = pretend(spec, directory)
        return type(record)(**{**vars(record), "test_set": str(spec.size)})

    with pytest.raises(DataError, match="not tested on the same samples"):
        run_study(study(), tmp_path, run=shifting)


def test_targets_that_are_differences_from_a_fit_do_not_make_another_test_set():
    few, more = (MoleculesConfig(target="energy", train_size=size).build().splits.test for size in (20, 40))
    assert not torch.equal(few["target"], more["target"])
    assert _digest(few) == _digest(more)
    assert _digest(few) != _digest(few.prefix(999))


def test_runs_in_different_orders_are_not_compared(tmp_path):
    def shuffling(spec, directory):
        record = pretend(spec, directory)
        return type(record)(**{**vars(record), "order": spec.arm})

    with pytest.raises(DataError, match="different orders"):
        run_study(study(), tmp_path, run=shuffling)


@pytest.mark.parametrize("executor", [InThisProcess(), ThreadPoolExecutor(2)])
def test_any_standard_executor_runs_a_study(tmp_path, executor):
    with executor:
        assert run_study(study(), tmp_path, executor, run=pretend).finished == 27


def test_threads_of_an_executor_take_turns_with_torchs_random_numbers(tmp_path, monkeypatch):
    both = threading.Barrier(2, timeout=0.3)
    together = []

    def train(*_, **__):
        try:
            both.wait()
            together.append(1)
        except threading.BrokenBarrierError:
            pass
        raise NonFiniteError("enough")

    monkeypatch.setattr("torsor.study.runs.train", train)
    small = study(sizes=(8,), seeds=(0,), arms=("strict", "plain"), strict={"name": "egnn"})
    with ThreadPoolExecutor(2) as executor:
        run_study(small, tmp_path, executor)
    assert not together


def test_an_arm_is_summed_up_over_its_seeds_and_test_samples(tmp_path):
    def uneven(spec, directory):
        record = pretend(spec, directory)
        tested = {arm: replace(result, share=0.1 * (spec.seed + 1)) for arm, result in record.tested.items()}
        return replace(record, tested=tested)

    plain = run_study(study(sizes=(8,), arms=("plain",)), tmp_path, run=uneven).arm("plain")
    hard = np.random.default_rng(0).lognormal(sigma=0.3, size=24)  # of the test samples, as `pretend` has it
    assert plain.tail[0] == pytest.approx(hard.max() / hard.sum(), rel=1e-12)
    assert plain.median[0] == pytest.approx(np.mean(plain.runs[0]) * np.median(hard) / hard.mean(), rel=1e-12)
    share = plain.share[0]
    assert (share.estimate, share.low, share.high) == pytest.approx((0.2, 0.1, 0.3), rel=1e-12)


def test_unfinished_study_can_be_looked_at(tmp_path):
    run_study(study(), tmp_path, run=pretend)
    for path in sorted((tmp_path / "ledger").glob("*-n128-*.json"))[:4]:
        path.unlink()
    findings = analyse(tmp_path)
    assert findings.missing == 4
    assert any("unfinished" in line for line in findings.cautions)


def test_findings_are_valid_json_whatever_is_missing(tmp_path):
    run_study(study(seeds=(0,), sizes=(8,)), tmp_path, run=pretend)
    content = json.loads((tmp_path / "findings.json").read_text())
    assert content["verdict"] == "INCONCLUSIVE"
    assert content["multiplier"]["estimate"] == "nan"


def test_study_is_read_from_toml(tmp_path):
    path = tmp_path / "my_study.toml"
    path.write_text(
        'task = { name = "nbody", variant = "gravity" }\nstrict = { name = "egnn", hidden = 8 }\nsizes = [10, 20]\n[train]\nsteps = 7\n'
    )
    config = read_study(path)
    assert config.sizes == (10, 20)
    assert config.train.steps == 7
    assert config.task_settings(10).train_size == 10


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("task = { name = 'nbody' }\nsize = [1]", ConfigError, "sizes"),
        ("task = { name = 'nbody' }\narms = ['strickt']", UnknownNameError, "strict"),
        ("task = { name = 'nbody', train_size = 3 }", ConfigError, "sizes"),
        ("task = { name = 'nbody' }\nsizes = [20, 10]", ConfigError, "smallest first"),
        ("task = { name = 'nbody' }\nshare_samples = 1", ConfigError, "2 or more"),
        ("sizes = [1]", ConfigError, "task"),
    ],
)
def test_mistakes_in_a_study_file_are_named(tmp_path, text, error, said):
    path = tmp_path / "my_study.toml"
    path.write_text(text)
    with pytest.raises(error, match=said):
        read_study(path)


def test_unknown_model_is_found_before_the_first_run(tmp_path):
    with pytest.raises(UnknownNameError, match="egnn"):
        run_study(study(strict={"name": "egn"}), tmp_path, run=pretend)
    assert not tmp_path.joinpath("ledger").exists()
