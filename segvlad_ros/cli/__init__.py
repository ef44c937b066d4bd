"""The ``segvlad`` command: one module of this package is one subcommand.

A command module has ``add_arguments(parser)`` and ``run(args) -> exit status``; only the chosen one is imported, so
that ``segvlad --help`` is quick and works without the packages that one command needs.
"""
from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from segvlad_ros.text import OneLineFormatter, one_line, out_of_memory, said_by
from segvlad_ros.types import SegvladError

# Exit statuses (design.md 7).
OK, BELOW, USAGE = 0, 1, 2
_INTERRUPTED, _TERMINATED = 130, 143

COMMANDS = {
    'demo': 'run both nodes on a simulated robot and show what they recognise',
    'simulate': 'write the run of a simulated robot as a ROS 2 bag',
    'play': 'publish a bag on topics, with /clock',
    'describe': 'describe an image: segments, descriptors, timings',
    'map': 'show, verify, build, merge and prune map files',
    'evaluate': 'measure recognition on images or on a bag',
    'calibrate': 'learn the probability of a match from your own bags or images',
    'fit': 'make a vocabulary or a projection from your own images',
    'reproduce': "run the paper's experiments on its data sets",
    'fleet': 'share places between robots: serve a database, upload a map, query',
    'export': 'write networks as ONNX files that agree with PyTorch',
    'weights': 'list, fetch, import and verify model weights',
    'benchmark': 'measure the time of every stage on this machine',
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    :param argv: arguments without the program's name; None takes the process's
    :return: exit status: 0, 1 (result below what was asked), 2 (usage or input error)
    """
    arguments = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in arguments if not word.startswith('-')), None)
    _fill_closed_streams()
    try:
        with _terminated_like_interrupted():
            parser, module = _parser(chosen)
            args = parser.parse_args(arguments)
            _prepare_output(args.verbose)
            status = module.run(args)
            sys.stdout.flush()
            return status
    except SegvladError as error:
        print(f'segvlad {chosen}: {error}', file=sys.stderr)
        return USAGE
    except KeyboardInterrupt as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is cleaned up; another one would be a traceback
        return _TERMINATED if isinstance(error, _Terminated) else _INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away (`| head`); nothing is left to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        print(f'segvlad {chosen}: {one_line(error)}', file=sys.stderr)
        return USAGE
    except Exception as error:
        if not out_of_memory(error):
            raise
        print(f'segvlad {chosen}: {said_by(error)}', file=sys.stderr)
        return USAGE


class _Terminated(KeyboardInterrupt):
    """SIGTERM. What is half done is cleaned up, as after Ctrl-C."""


def _terminate(*_: object) -> NoReturn:
    raise _Terminated


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Have SIGTERM raise :class:`_Terminated`; outside of the main thread, which alone is told of signals, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fill_closed_streams() -> None:
    """Write to nowhere what goes to a stream that was closed (``>&-``), and not into a file opened in its place."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), 'w'))


def _prepare_output(verbose: bool) -> None:
    """One line a warning, and no failure on the name of a file that is not text in the terminal's encoding."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter('%(levelname)s: %(message)s'))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


class _Parser(argparse.ArgumentParser):
    """Answers a usage error with one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f'{self.prog}: {one_line(message)} (see {self.prog} --help)\n')


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, object]:
    """The parser of all commands, with the arguments of the chosen one only."""
    parser = _Parser(
        prog='segvlad', description='Visual place recognition with segments: maps, evaluation, fitting.')
    parser.add_argument('--verbose', action='store_true', help='log progress in detail')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    module = None
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text[0].upper() + help_text[1:] + '.')
        if name == chosen:
            module = importlib.import_module(f'{__name__}.{name}')
            module.add_arguments(command)
    return parser, module
