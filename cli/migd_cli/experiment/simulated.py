"""The same runs in virtual time, on a simulated pool. Needs no controller."""

import random
from pathlib import Path

from msgspec.structs import replace

from migd_cli.experiment.runs import Arm, Moved, Plan, Run, order
from migd_cli.failures import Failure
from migd_core.errors import MigdError


def planned(plan: Plan) -> Plan:
    """Return the plan with the guest's home, as the pool file says. Raises Failure naming what is wrong in a file."""
    from migd_sim.run.experiment import home_of, job_of, load

    try:
        pool = load(Path(plan.simulated))
        home = home_of(pool, plan.guest, plan.target, plan.simulated)
        job_of(pool, plan.guest, plan.simulated)
        if plan.baseline:
            job_of(load(Path(plan.baseline)), plan.guest, plan.baseline)
    except MigdError as error:
        raise Failure(str(error)) from error
    return replace(plan, home=home, warm_up=0, pause_by="the simulated cluster")


def simulated_runs(plan: Plan) -> list[Run]:
    """Return every run of a plan. Raises Failure."""
    return [_run(number, arm, plan) for number, (arm, _) in enumerate(order(plan), start=1)]


def _run(number: int, arm: Arm, plan: Plan) -> Run:
    from migd_sim.run.experiment import job_of, load, play, varied

    name = plan.baseline if arm is Arm.BASELINE else plan.simulated
    try:
        pool = load(Path(name))
        job = job_of(pool, plan.guest, name)
    except MigdError as error:
        raise Failure(str(error)) from error
    pool = varied(pool, random.Random(f"{plan.seed} {number}"), plan.noise_ratio)
    if arm is not Arm.WITH:
        played = play(pool, job)
        return Run(number=number, arm=arm, at=0.0, took_s=played.took_s, failed=played.failed)
    played = play(pool, job, plan.guest, plan.target, plan.at_s)
    move = Moved(cause="", asked_after_s=plan.at_s, took_s=played.migration_s, pause_s=played.pause_s)
    return Run(number=number, arm=arm, at=0.0, took_s=played.took_s, failed=played.failed, move=move)
