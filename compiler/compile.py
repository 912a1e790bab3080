"""The whole way from a model to a Program."""

from isa.geometry import Geometry
from isa.program import Program
from models.calibration import Calibration
from models.llama import LlamaWeights

from .frontends import llama, llama_fp16
from .place import PlaceError
from .quantize import MODES, WEIGHT_BYTES
from .schedule import schedule


def compile_llama(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, *, context: int | None = None,
                  precision: str | dict[str, str] = "int8", embedding: str = "fp32",
                  plans: int | None = None) -> Program:
    """One decode step of a Llama-style model as a Program.

    context: positions of the KV cache, by default all of the model's. precision: "fp16" for the whole model, one of the other
    modes of compiler.quantize for all dense layers, or one of these for each of compiler.frontends.llama.SITES. embedding: how the
    table of a model in integers is kept, "fp32" or "int8". plans: how many schedules are tried at most. Raises LlamaError,
    QuantizeError, or PlaceError when the model does not fit the geometry.
    """
    context = weights.config.max_positions if context is None else context
    check_room(weights, geometry, precision)
    if precision == "fp16":
        graph = llama_fp16.build(weights, calibration, geometry, context)
    else:
        graph = llama.build(weights, calibration, geometry, context, _modes(precision), embedding)
    program = schedule(graph, geometry, plans)
    program.notes |= {"kind": "llama decode step", "context": context, "vocabulary": weights.config.vocab}
    return program


def compile_layers(weights: LlamaWeights, calibration: Calibration, geometry: Geometry, layers: range, *, context: int,
                   precision: str | dict[str, str] = "int8") -> Program:
    """One token's way through some of the layers of a Llama-style model as a Program.

    Symbols: `x` and `y`, the residual stream before and behind the layers, fp32; `pos`, the position, an index vector, one
    more after each run; the caches (compiler.host.LayersHost fills them). Arguments and errors: see compile_llama.
    """
    if precision == "fp16":
        graph = llama_fp16.build_layers(weights, calibration, geometry, context, layers)
    else:
        graph = llama.build_layers(weights, calibration, geometry, context, _modes(precision), layers)
    program = schedule(graph, geometry)
    program.notes |= {"kind": "llama layers", "context": context, "layers": [layers.start, layers.stop], "fp16": precision == "fp16"}
    return program


def check_room(weights: LlamaWeights, geometry: Geometry, precision: str | dict[str, str], name: str = "the model"):
    """Raises PlaceError for a model whose weights alone cannot fit: at once, compiling a large model takes minutes."""
    modes = {precision} if isinstance(precision, str) else set(precision.values())
    if not modes <= set(MODES):
        return   # an error of its own
    need, room = weights.parameters * min(WEIGHT_BYTES[mode] for mode in modes), geometry.sram_bytes
    if need > room:
        raise PlaceError(f"geometry {geometry.name} holds {room} bytes, the weights of {name} are {need} in "
                         f"{', '.join(sorted(modes))}; the float64 model needs no chip")


def _modes(precision):
    return dict.fromkeys(llama.SITES, precision) if isinstance(precision, str) else precision
