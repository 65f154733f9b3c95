"""Running the tasks: in this process, in processes of this machine, or on a Dask cluster that runs already.

The processes of this machine talk to this one over pipes that nobody else can open, and are started without the keys.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from scalp.cli.settings import without_secrets
from scalp.cli.versions import versions
from scalp.core.errors import UserError
from scalp.sweep.tasks import Batch, Job, Outcome, run

INSTALL = "pip install 'dask[distributed]'"
IN_FLIGHT = 4  # tasks per core: enough to keep it busy, few enough to hold in memory
ANSWER = 10.0  # seconds a cluster has to answer and to show a worker
LAST_WORDS = 5.0  # seconds a process has to end


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def alone(job: Job, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
    """Play the tasks in this process, on one core."""
    for batch in batches:
        yield run(job, batch)


@contextmanager
def local(jobs: int, job: Job) -> Iterator[Processes]:
    """So many processes of this machine, for the time of the context."""
    processes = Processes(jobs, job)
    try:
        yield processes
    finally:
        processes.end()


@contextmanager
def remote(address: str, job: Job) -> Iterator[Cluster]:
    """A cluster that runs already. Raises UserError without Dask, or when there is no cluster or no worker."""
    distributed = _dask("distributed")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the sweep reports a lost scheduler in one line
    try:
        client = distributed.Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise UserError(f"--scheduler {address}: no Dask scheduler answers there ({type(error).__name__})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER)
        except TimeoutError:
            raise UserError(f"--scheduler {address}: the cluster has no worker: start some") from None
        # Other sources would give other numbers unnoticed.
        if set(_asked(client, address).values()) != {_digest()}:
            raise UserError(f"--scheduler {address}: its workers have another version of this package than is here")
        yield Cluster(client, job)


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
        raise UserError(f"--scheduler needs Dask: {INSTALL}, or leave it out") from None


class Workers:
    """Plays tasks in other processes, with a bounded number of them on the way.

    A task whose process dies is suspected (on a cluster with what else waited there, and after as many deaths as that
    allows). Its sets are played again one by one with nothing else running: a set whose process then dies too is
    guilty. It is reported as a problem and not played any more.
    """

    cores: int
    _on_the_way = 0

    def play(self, batches: Iterable[Batch]) -> Iterator[list[Outcome]]:
        """Outcomes as they come. Raises UserError when the workers go away or cannot play at all."""
        waiting = iter(batches)
        is_over = False
        suspects: deque[Batch] = deque()  # of one set each
        guilty: dict[int, str] = {}
        while True:
            while not (is_over or suspects) and self._on_the_way < IN_FLIGHT * self.cores:
                batch = next(waiting, None)
                if batch is None:
                    is_over = True
                else:
                    yield from self._start(batch, guilty)
            is_alone = bool(suspects) and not self._on_the_way
            if is_alone:
                yield from self._start(suspects.popleft(), guilty)
            if self._on_the_way:
                played, outcomes = self._receive()
                self._on_the_way -= 1
                if outcomes is not None:
                    yield outcomes
                elif is_alone:
                    guilty[played.sets[0][0]] = f"its process died again and again on {played.day.session.date}"
                    yield from self._start(played, guilty)
                else:
                    suspects += (Batch(played.place, played.day, (one,)) for one in played.sets)
            elif is_over and not suspects:
                return

    def _start(self, batch: Batch, guilty: dict[int, str]) -> Iterator[list[Outcome]]:
        """Send a task without the sets that are known to kill, and report those."""
        sets = tuple(one for one in batch.sets if one[0] not in guilty)
        if sets:
            self._send(Batch(batch.place, batch.day, sets))
            self._on_the_way += 1
        told = [Outcome(batch.place, number, problem=guilty[number]) for number, _ in batch.sets if number in guilty]
        if told:
            yield told

    def _send(self, batch: Batch) -> None:
        raise NotImplementedError

    def _receive(self) -> tuple[Batch, list[Outcome] | None]:
        """A task that was sent, and what it came to; None when it is suspected of killing its process."""
        raise NotImplementedError


class Processes(Workers):
    """Processes of this machine, each at the other end of a pipe; one that dies is replaced."""

    def __init__(self, count: int, job: Job) -> None:
        self.cores = count
        self._job = job
        self._crew = [_Process(job) for _ in range(count)]

    def end(self) -> None:
        """Stop all of them, whatever they are doing."""
        for process in self._crew:
            process.kill()

    def _send(self, batch: Batch) -> None:
        min(self._crew, key=lambda process: len(process.tasks)).send(batch)

    def _receive(self) -> tuple[Batch, list[Outcome] | None]:
        while True:
            by_pipe = {process.pipe: process for process in self._crew}
            for ready in wait(list(by_pipe)):
                process = by_pipe[ready]  # type: ignore[index]
                try:
                    answer = process.pipe.recv()
                except (EOFError, OSError):
                    if (suspect := self._replace(process)) is not None:
                        return suspect, None
                    break
                if isinstance(answer, UserError):
                    raise answer
                if answer is not None:
                    return process.tasks.popleft(), answer
                process.is_ready = True

    def _replace(self, dead: _Process) -> Batch | None:
        """Put another process in the place of one that died; returns the task that one was at."""
        dead.kill()
        if not dead.is_ready:
            raise UserError(f"a process of the sweep did not start (exit code {dead.exit_code}): try --jobs 1")
        new = _Process(self._job)
        self._crew[self._crew.index(dead)] = new
        suspect = dead.tasks.popleft() if dead.tasks else None
        for batch in dead.tasks:
            new.send(batch)
        return suspect


class _Process:
    """One process, and the tasks it has been sent and not answered, the one it is at first."""

    def __init__(self, job: Job) -> None:
        # Spawned: a server of forks would listen on a socket, and a fork would have the keys in its memory.
        context = multiprocessing.get_context("spawn")
        self.tasks: deque[Batch] = deque()
        self.is_ready = False
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        try:
            with theirs, _without_secrets():
                self._process.start()
        except OSError as error:
            raise UserError(f"no more processes can be started ({error.strerror}): say fewer --jobs") from None

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def send(self, batch: Batch) -> None:
        self.tasks.append(batch)
        with suppress(OSError):  # it has died, which reading from it will show
            self.pipe.send(batch)

    def kill(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.join(LAST_WORDS)


@contextmanager
def _without_secrets() -> Iterator[None]:
    """A process that is started meanwhile gets no secret from the environment, and leaves Ctrl+C to this one."""
    everything = dict(os.environ)
    blocks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocks else None
    try:
        for name in everything.keys() - without_secrets(everything).keys():
            del os.environ[name]
        yield
    finally:
        os.environ.update(everything)
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, job: Job) -> None:
    """The work of a process: tasks in, what they came to out, until the other end is closed."""
    with suppress(EOFError, OSError):
        pipe.send(None)  # it has started
        while True:
            batch: Batch = pipe.recv()
            try:
                answer: list[Outcome] | UserError = run(job, batch)
            except UserError as error:
                answer = error
            except Exception as error:
                answer = UserError(f"a process could not play a task: {_in_one_line(error)}")
            pipe.send(answer)


class Cluster(Workers):
    """The workers of a Dask cluster."""

    def __init__(self, client: Any, job: Job) -> None:
        self._client = client
        self._job = job
        distributed = _dask("distributed")
        self._completed = distributed.as_completed()
        self._killed: type[BaseException] = distributed.KilledWorker
        self._futures: dict[Any, Batch] = {}
        self.cores = sum(client.nthreads().values())

    def _send(self, batch: Batch) -> None:
        future = self._client.submit(run, self._job, batch, pure=False)
        self._futures[future] = batch
        self._completed.add(future)

    def _receive(self) -> tuple[Batch, list[Outcome] | None]:
        future = next(self._completed)
        batch = self._futures.pop(future)
        try:
            outcomes: list[Outcome] = future.result()
        except self._killed:
            return batch, None
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the cluster could not play a task: {_in_one_line(error)}") from None
        return batch, outcomes


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
