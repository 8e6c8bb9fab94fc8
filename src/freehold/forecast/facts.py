"""Facts of GPUs and open models: data with sources, to which a scenario may add rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

import msgspec

from freehold.kernel.errors import CallerError


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An open model. total_b, active_b: parameters in billions, all and those that one token uses; kv_elements: cached for one token over all layers;
    kv_heads: over how many GPUs a token's cache can be cut; window: tokens that `windowed` (a share) of its cache stops growing at; context: in
    tokens; also: other names; like: a model of the very same shape; is_checked: whether somebody held the row against a second source.
    """

    name: str
    total_b: float
    active_b: float
    layers: int
    hidden: int
    heads: int
    head_size: int
    kv_elements: int
    kv_heads: int
    context: int
    experts: int = 0
    experts_per_token: int = 0
    window: int = 0
    windowed: float = 0.0
    also: tuple[str, ...] = ()
    like: str = ""
    source: str
    date: str
    is_checked: bool = True

    @property
    def expert_b(self) -> float:
        """Billions of parameters in experts: what is not active for a token is in experts that it does not use."""
        if not self.experts:
            return 0.0
        return (self.total_b - self.active_b) / (1 - self.experts_per_token / self.experts)

    @property
    def dense_b(self) -> float:
        return self.total_b - self.expert_b

    def cached(self, tokens: float) -> float:
        """Elements of cache that a sequence of so many tokens holds."""
        held = tokens * (1 - self.windowed) + min(tokens, self.window) * self.windowed if self.window else tokens
        return held * self.kv_elements


class Gpu(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU. memory_gb: in 10⁹ bytes; …_tflops: dense, 0 for arithmetic that it does not have; power_w: at the most; per_node: how many a link of link_gb_s
    (one way, each) joins.
    """

    name: str
    title: str
    bandwidth_tb_s: float
    memory_gb: float
    bf16_tflops: float
    fp8_tflops: float = 0.0
    fp4_tflops: float = 0.0
    power_w: float
    per_node: int
    link_gb_s: float
    also: tuple[str, ...] = ()
    source: str
    date: str
    is_checked: bool = True

    def flops(self, precision: str) -> float:
        """Operations a second for weights of a precision; weights without their own arithmetic are widened to 16 bits."""
        return ({"fp4": self.fp4_tflops, "fp8": self.fp8_tflops}.get(precision) or self.bf16_tflops) * 1e12


class _File(msgspec.Struct):
    models: list[Model] = []
    gpus: list[Gpu] = []


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of models and GPUs."""

    models: tuple[Model, ...]
    gpus: tuple[Gpu, ...]

    def model(self, name: str) -> Model:
        """Raises CallerError `forecast.unknown_model` with how to add it."""
        found = next((row for row in self.models if _is(row, name)), None)
        if found is None:
            raise _unknown(name, "model", "forecast.unknown_model", (row.name for row in self.models))
        return found

    def gpu(self, name: str) -> Gpu:
        """Raises CallerError `forecast.unknown_gpu` with how to add it."""
        found = next((row for row in self.gpus if _is(row, name)), None)
        if found is None:
            raise _unknown(name, "GPU", "forecast.unknown_gpu", (row.name for row in self.gpus))
        return found

    def with_rows(self, models: Iterable[Model], gpus: Iterable[Gpu]) -> Facts:
        """These and a scenario's own, which come first."""
        return Facts((*models, *self.models), (*gpus, *self.gpus))


def load() -> Facts:
    """The facts that come with Freehold."""
    return read(resources.files("freehold.forecast").joinpath("facts.json").read_bytes())


def read(raw: bytes) -> Facts:
    """Read rows. Raises CallerError `forecast.facts` that says where."""
    try:
        file = msgspec.json.decode(raw, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CallerError(f"These are no facts: {error}.", code="forecast.facts", hint=_EXAMPLES["model"]) from None
    for model in file.models:
        check(model)
    for gpu in file.gpus:
        check(gpu)
    return Facts(tuple(file.models), tuple(file.gpus))


def check(row: Model | Gpu) -> None:
    """Raise CallerError for a row that nothing can be computed with."""
    fields = msgspec.structs.asdict(row)
    wrong = {name for name, value in fields.items() if isinstance(value, int | float) and not 0 <= value < 1e9}
    wrong |= {name for name in _NEEDED if name in fields and not fields[name]}
    if wrong:
        raise CallerError(f"{row.name!r} has no usable {', '.join(sorted(wrong))}.", code="forecast.facts")
    if isinstance(row, Model) and (row.active_b > row.total_b or row.experts_per_token >= max(1, row.experts)):
        raise CallerError(f"{row.name!r} uses more than it has.", code="forecast.facts")


_NEEDED = (
    "total_b",
    "active_b",
    "layers",
    "hidden",
    "heads",
    "head_size",
    "kv_elements",
    "kv_heads",
    "context",
    "bandwidth_tb_s",
    "memory_gb",
    "bf16_tflops",
    "per_node",
    "link_gb_s",
)


def _is(row: Model | Gpu, name: str) -> bool:
    wanted = name.casefold()
    return wanted in map(str.casefold, (row.name, *row.also))


def _unknown(name: str, what: str, code: str, names: Iterable[str]) -> CallerError:
    return CallerError(
        f"{name[:80]!r} is no {what} of the table ({', '.join(names)}).",
        code=code,
        hint=f"Add a row to a file of --facts, or to the scenario as [[{what.lower()}s]] in TOML: {_EXAMPLES[what]}",
    )


_EXAMPLES = {
    "model": '{"models": [{"name": "mine", "total_b": 8.0, "active_b": 8.0, "layers": 32, "hidden": 4096, "heads": 32, "head_size": 128, "kv_elements": 65536, "kv_heads": 8, "context": 131072, "source": "config.json", "date": "2026-01-31"}], "gpus": []}',
    "GPU": '{"models": [], "gpus": [{"name": "mine", "title": "Mine", "bandwidth_tb_s": 1.0, "memory_gb": 48.0, "bf16_tflops": 200.0, "power_w": 300, "per_node": 8, "link_gb_s": 32.0, "source": "datasheet", "date": "2026-01-31"}]}',
}
