"""Running the tasks: one after the other in this process, or through Dask.

Dask's processes talk over loopback without a password: on a machine shared with people you don't trust, use one core.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing import get_all_start_methods
from typing import Any

from scalp.cli.versions import versions
from scalp.core.errors import UserError
from scalp.sweep.tasks import Batch, Job, Outcome, run

INSTALL = "pip install 'dask[distributed]'"
IN_FLIGHT = 4  # tasks per core: enough to keep it busy, few enough to hold in memory
LOCAL = {
    "distributed.scheduler.allowed-failures": 0,  # whose worker dies is suspected, and played again alone: see Cluster
    # A process of a server that has imported what it needs starts in a third of the time.
    "distributed.worker.multiprocessing-method": "forkserver" if "forkserver" in get_all_start_methods() else "spawn",
}
ANSWER = 10.0  # seconds a cluster has to answer and to show a worker


def cores() -> int | None:
    """How many cores this process may use; None where Dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        return None
    return int(_dask("dask.system").CPU_COUNT)


def alone(job: Job, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """In this process, on one core."""
    for batch in batches:
        yield run(job, batch)


@contextmanager
def local(jobs: int) -> Iterator[Cluster]:
    """So many processes of this machine, for the time of the context. Raises UserError without Dask."""
    distributed = _dask("distributed")
    with ExitStack() as stack:
        stack.enter_context(_dask("dask").config.set(LOCAL))
        cluster = stack.enter_context(
            distributed.LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                # Without a port of its own two sweeps on one machine ask for the same one.
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs="CRITICAL",  # a process that dies is told of by the sweep
            )
        )
        yield Cluster(stack.enter_context(distributed.Client(cluster)))


@contextmanager
def remote(address: str) -> Iterator[Cluster]:
    """A cluster that runs already. Raises UserError without Dask, or when there is no cluster or no worker."""
    distributed = _dask("distributed")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a lost scheduler is told of in one line, by the sweep
    try:
        client = distributed.Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler {address}: no Dask scheduler answers there ({type(error).__name__})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER)
        except TimeoutError:
            raise UserError(f"--scheduler {address}: the cluster has no worker: start some") from None
        # Other sources would give other numbers without a word.
        if set(_asked(client, address).values()) != {_digest()}:
            raise UserError(f"--scheduler {address}: its workers have another version of this package than is here")
        yield Cluster(client)


def _digest() -> str:
    return versions()["scalp"]


def _asked(client: Any, address: str) -> dict[str, str]:
    """The version of this package on each worker."""
    try:
        answers: dict[str, str] = client.run(_digest)
    except Exception as error:  # whatever goes wrong over there is raised here
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"--scheduler {address}: its scheduler and workers need this package ({why})") from None
    return answers


def _dask(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise UserError(f"more than one core needs Dask: {INSTALL}, or say --jobs 1") from None


class Cluster:
    """Plays tasks on the workers of a Dask cluster, with a bounded number of them on the way.

    A task whose worker dies is suspected, with what else waited there (on a cluster of others, after as many deaths as
    that allows). Its sets are played again one by one with nothing else running: a set whose worker then dies too is
    guilty. It is told as a problem and not played any more.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._as_completed = _dask("distributed").as_completed
        self._killed: type[BaseException] = _dask("distributed").KilledWorker
        self._guilty: dict[int, str] = {}
        self.cores = sum(client.nthreads().values())

    def play(self, job: Job, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
        """Outcomes as they come. Raises UserError when the cluster goes away or cannot play at all."""
        waiting = iter(batches)
        while first := list(islice(waiting, IN_FLIGHT * self.cores)):
            suspects: deque[Batch] = deque()
            on_the_way = {self._send(job, batch): batch for batch in first}
            completed = self._as_completed(list(on_the_way))
            for future in completed:
                batch = on_the_way.pop(future)
                outcomes = self._outcomes(future)
                if outcomes is None:
                    suspects += (Batch(batch.place, batch.day, (one,)) for one in batch.sets)
                else:
                    yield outcomes
                if not suspects:
                    for following in islice(waiting, 1):
                        sent = self._send(job, following)
                        on_the_way[sent] = following
                        completed.add(sent)
            for suspect in suspects:
                yield self._play_alone(job, suspect)

    def _play_alone(self, job: Job, batch: Batch) -> list[Outcome]:
        outcomes = self._outcomes(self._send(job, batch))
        if outcomes is None:
            number = batch.sets[0][0]
            self._guilty[number] = f"its process died again and again on {batch.day.session.date}"
            outcomes = [Outcome(batch.place, number, problem=self._guilty[number])]
        return outcomes

    def _send(self, job: Job, batch: Batch) -> Any:
        return self._client.submit(_run_but, job, batch, dict(self._guilty), pure=False)

    def _outcomes(self, future: Any) -> list[Outcome] | None:
        """What a task came to; None when it is suspected of killing its worker."""
        try:
            outcomes: list[Outcome] = future.result()
        except self._killed:
            return None
        except UserError:
            raise
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"the cluster could not play a task: {text}") from None
        return outcomes


def _run_but(job: Job, batch: Batch, guilty: dict[int, str]) -> list[Outcome]:
    """`run`, without the sets that are known to kill."""
    sets = tuple(one for one in batch.sets if one[0] not in guilty)
    told = [Outcome(batch.place, number, problem=guilty[number]) for number, _ in batch.sets if number in guilty]
    return told + (run(job, Batch(batch.place, batch.day, sets)) if sets else [])
