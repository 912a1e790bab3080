"""The command line: `lpu run|compile|program`. Parses, calls, prints."""

import argparse
import functools
import os
import sys
from pathlib import Path

from compiler.frontends.llama import LlamaError
from compiler.graph import GraphError
from compiler.host import WHERE, HostError
from compiler.place import PlaceError
from compiler.quantize import QuantizeError
from compiler.schedule import ScheduleError
from golden.chip import GoldenError
from isa import geometry
from isa.check import CheckError, check
from isa.geometry import GeometryError
from isa.instructions import InstructionError
from isa.issue import IssueError
from isa.program import Program, ProgramError
from models.catalogue import NAMES, STORIES, load_model
from models.llama import ModelError
from models.safetensors import SafetensorsError
from models.tokenizer import TokenError
from sim.build import BuildError
from sim.machine import GoldenMachine, MachineError, RtlMachine, chip_model

from .session import PRECISION, PRECISIONS, Voice, compile_model, float_tokens, generate, usual_geometry

# what a user can cause; anything else is a bug and keeps its traceback
_USER_ERRORS = (BuildError, CheckError, GeometryError, GoldenError, GraphError, HostError, InstructionError, IssueError,
                LlamaError, MachineError, ModelError, OSError, PlaceError, ProgramError, QuantizeError,
                SafetensorsError, ScheduleError, TokenError)


CLOCK_HZ = 900e6   # of the machine that this one is modelled on; the speed of a chip is stated for it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if the chip reported an error, or 2 after one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:   # the reader of our output has left; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("lpu: interrupted", file=sys.stderr)
        return 130
    except _USER_ERRORS as e:
        print(f"lpu: error: {e}", file=sys.stderr)
        return 2


def _parser():
    parser = argparse.ArgumentParser(prog="lpu", description="An open language-processing unit.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="answer a prompt")
    run.add_argument("model", metavar="MODEL", help=f"one of {', '.join(NAMES)}")
    run.add_argument("--prompt", required=True, help="write --prompt=-1 if it begins with a minus")
    run.add_argument("--tokens", type=int, metavar="N", help="at most N new tokens (default: what the model usually needs)")
    run.add_argument("--on", choices=("rtl", "golden", "float"), default="rtl",
                     help="the RTL in simulation, the golden model, or the float64 model (default: rtl)")
    run.add_argument("--geometry", help=f"one of {', '.join(geometry.NAMES)} (default: small, medium for {STORIES})")
    _add_precision(run)
    run.set_defaults(command=_run)

    compile_ = commands.add_parser("compile", help="write the Program of a model's decode step")
    compile_.add_argument("model", metavar="MODEL", help=f"one of {', '.join(NAMES)}")
    compile_.add_argument("--geometry", help="as for run")
    _add_precision(compile_)
    compile_.add_argument("-o", "--output", type=Path, required=True)
    compile_.set_defaults(command=_compile)

    program = commands.add_parser("program", help="check and disassemble a Program file")
    program.add_argument("file", type=Path)
    program.set_defaults(command=_program)
    return parser


def _add_precision(command):
    command.add_argument("--precision", choices=PRECISIONS, default=PRECISION,
                         help="of weights and activations, but not with --on float; int16 are two int8 terms (default: %(default)s)")


def _run(options):
    chip = _geometry(options)
    model = load_model(options.model)
    model.max_new(model.encode(options.prompt), options.tokens)   # refuse a bad request before anything is built
    if remark := model.remark(options.prompt):
        print(f"lpu: {remark}", file=sys.stderr)
    if options.on == "float":
        voice = Voice(model, options.prompt, _say)
        for token in float_tokens(model, options.prompt, options.tokens):
            voice.hear(token)
        voice.finish()
        print()
        return 0
    compiled = compile_model(options.model, chip, options.precision)
    if options.on == "rtl":
        built = chip_model(chip, progress=functools.partial(print, file=sys.stderr, flush=True))
        machine = RtlMachine(chip, model=built, progress=not sys.stdout.isatty())   # there the text shows how it goes on
    else:
        machine = GoldenMachine(chip)
    for part, place in WHERE:
        print(f"{part:<45} {place if place == 'host' else options.on}", file=sys.stderr)
    with machine:
        voice = Voice(model, options.prompt, _say)
        _, result = generate(compiled, options.prompt, machine, limit=options.tokens, on_token=voice.hear)
        voice.finish()
        print()
    _print_result(compiled, result)
    return 1 if result.errors else 0


def _say(text):
    print(text, end="", flush=True)


def _print_result(compiled, result):
    step = compiled.program.cycles
    print(f"{result.launches} steps of {step} cycles: {result.cycles} cycles, {result.launches / result.seconds:.2f} tokens/s in "
          f"simulation, {CLOCK_HZ / step:,.0f} tokens/s if clocked at {CLOCK_HZ / 1e6:.0f} MHz", file=sys.stderr)
    for error in result.errors:
        print(f"lpu: chip: {error}", file=sys.stderr)


def _geometry(options):
    return geometry.named(options.geometry if options.geometry is not None else usual_geometry(options.model))


def _compile(options):
    compiled = compile_model(options.model, _geometry(options), options.precision)
    compiled.program.save(options.output)
    print(f"{options.output}: {compiled.program.cycles} cycles a step, dependency bound "
          f"{compiled.program.notes['bound']}", file=sys.stderr)


def _program(options):
    program = Program.load(options.file)
    expansion = check(program)
    print(f"{'queue':<14} {'cycle':>8}  instruction")
    for queue in program.geometry.queues:
        issues = (i for i in (*expansion.issues, *expansion.fetches) if i.queue is queue)
        first = {}
        for issue in issues:
            first.setdefault(issue.entry, issue.cycle)
        for entry, instruction in enumerate(program.texts.get(queue.name, ())):
            operation = program.operation_of(queue.name, entry)
            print(f"{queue.name:<14} {first.get(entry, ''):>8}  {str(instruction):<90} {operation}".rstrip())
    fetched = f", {len(expansion.fetches)} vectors of text fetched" if expansion.fetches else ""
    print(f"{expansion.cycles} cycles, {len(expansion.issues)} issues{fetched}")


if __name__ == "__main__":
    sys.exit(main())
