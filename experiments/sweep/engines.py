"""How many runs are started: by joblib as processes of this machine, by submitit as jobs of a cluster."""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from experiments.sweep.flags import Options
from experiments.sweep.job import Job, Outcome
from msr.errors import ConfigError, MissingExtraError, first_line
from msr.failures import one_line
from msr.runs import signals

__all__ = ["load", "outcomes"]

# Seconds between two looks at the jobs of a cluster, by its name: Slurm is asked for all users, and asks for patience.
_LOOK = {"slurm": 10.0, "local": 0.5}
# Seconds that a cancelled run has to finish its step and save, before this process ends without it. Chosen by hand.
_SAVING = 60.0


def load(options: Options) -> None:
    """Raise MissingExtraError where the library that starts the runs is not installed."""
    try:
        if options.cluster == "none":
            import joblib  # noqa: F401
        else:
            import submitit  # noqa: F401
    except ImportError:
        name = "joblib" if options.cluster == "none" else "submitit"
        raise MissingExtraError(f"{name} starts the runs of a sweep. Try: pip install 'msr[sweep]'") from None


def outcomes(
    jobs: list[Job], options: Options, out: Path, say: Callable[[str], None]
) -> Generator[tuple[Job, Outcome], None, None]:
    """Each job with its outcome, as soon as it has one.

    A signal asks all runs to save and stop, and is raised as :class:`~msr.runs.signals.Stop` when they have; a second
    one ends them at once.

    Args:
        out: the sweep's folder, where a cluster's own files go.
        say: shows a line on what happens.

    Raises: ConfigError where the cluster takes no job.
    """
    return _here(jobs, options, say) if options.cluster == "none" else _on_a_cluster(jobs, options, out, say)


def _here(jobs: list[Job], options: Options, say: Callable[[str], None]) -> Generator[tuple[Job, Outcome], None, None]:
    """As :func:`outcomes`, by joblib. Its threads do nothing but wait for the processes of the runs."""
    from joblib import Parallel, cpu_count, delayed

    def call(job: Job, stopping: Callable[[], bool]) -> tuple[Job, Outcome]:
        """The job, for those that wait for any of them, with its outcome."""
        return job, job(stopping)

    told: list[bool] = []
    at_a_time = options.jobs or max(1, cpu_count() // options.threads)
    try:
        with signals.deferred() as caught:

            def stopping() -> bool:
                """Whether a signal has come; the first to see it says so."""
                if caught and not told:
                    told.append(True)
                    say("stopping: each run finishes its step and saves; a second signal ends them at once")
                return bool(caught)

            pool = Parallel(n_jobs=at_a_time, backend="threading", return_as="generator_unordered", batch_size=1)
            yield from pool(delayed(call)(job, stopping) for job in jobs)
    finally:
        # Nothing is left of a sweep that ended early: each run has had its chance to save, unless told twice to stop.
        for job in jobs:
            job.kill()


def _on_a_cluster(
    jobs: list[Job], options: Options, out: Path, say: Callable[[str], None]
) -> Generator[tuple[Job, Outcome], None, None]:
    """As :func:`outcomes`, by submitit, which also continues a run whose time on the cluster was over."""
    from submitit.helpers import as_completed

    executor = _executor(options, out)
    # Slurm limits the jobs of an array itself. Without Slurm all would start at once, so they are sent in parts.
    at_a_time = (options.jobs or len(jobs)) if options.cluster == "local" else len(jobs)
    for start in range(0, len(jobs), at_a_time):
        of: dict[int, Job] = {}
        sent: list[Any] = []
        try:
            with signals.deferred():  # a job is known here as soon as the cluster knows it
                part = jobs[start : start + at_a_time]
                sent = _sent(executor, part)
                of = dict(zip(map(id, sent), part, strict=True))
            with signals.raising():
                for done in as_completed(sent, poll_frequency=_LOOK[options.cluster]):
                    yield of.pop(id(done)), _outcome(done)
        finally:
            if of:
                say(f"cancelling {len(of)} jobs: each finishes its step and saves")
            for job in sent:
                if id(job) in of:
                    with contextlib.suppress(Exception):  # the others are cancelled all the same
                        job.cancel(check=False)
            for left in of.values():
                _wait_for_release(Path(left.folder))


def _executor(options: Options, out: Path) -> Any:
    """submitit's executor with what was asked for. Raises: ConfigError where there is no such cluster here."""
    import submitit

    try:
        executor = submitit.AutoExecutor(folder=out / "submitit", cluster=options.cluster)
    except RuntimeError as error:
        raise ConfigError(f"--cluster {options.cluster} cannot be used here: {first_line(error)}") from None
    executor.update_parameters(
        name=f"sweep-{options.runner}",
        timeout_min=options.time_limit,
        cpus_per_task=options.threads,
        mem_gb=options.memory or None,
        gpus_per_node=options.gpus or None,
        slurm_partition=options.partition or None,
        slurm_array_parallelism=options.jobs or None,
    )
    return executor


def _sent(executor: Any, jobs: list[Job]) -> list[Any]:
    """The cluster's jobs for these. Raises: ConfigError where it takes none, as for a partition that there is not."""
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with executor.batch():
            return [executor.submit(job) for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        raise ConfigError(f"the cluster took no job: {one_line(str(error))}") from None


def _outcome(done: Any) -> Outcome:
    """The outcome of a cluster's job that has ended; of one that the cluster ended, why, as submitit says it."""
    try:
        return done.result()
    except Exception as error:  # submitit raises what the job raised, and several kinds of its own
        return Outcome(None, f"the cluster's job {done.job_id} ended without a result: {first_line(error)}", 0.0)


def _wait_for_release(folder: Path) -> None:
    """Wait until no run holds a folder, a minute at most."""
    lock = folder / "checkpoints" / ".lock"
    if lock.is_file():
        with contextlib.suppress(Timeout, OSError, NotImplementedError), FileLock(lock).acquire(timeout=_SAVING):
            pass
