"""How fast an engine serves a model on so many GPUs: a roofline with overheads, a cache that bounds the batch, and a queue.

The time of one decoding step is a sum: weights and cache read from memory, arithmetic, a constant for each layer, communication, and a little for
each request of the batch; prefill of arriving prompts is shared by the batch. Each part has a factor that was fitted to measured points
(`fitted.json`, made by `tools/capacity.py`), for each engine and for dense and expert models apart; what the fit misses is the interval.
Experts: a batch of T tokens touches E·(1−(1−k/E)^T) of E experts in each layer. The batch is what Little's law makes of a rate, and at most what the
cache holds; who comes beyond waits (closed: until others end; open: Sakasegawa's approximation of M/G/k, 1977).
What it does not know: speculative decoding, prefix caches, separate prefill workers, and anything that was not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import msgspec

from freehold.forecast.facts import Gpu, Model
from freehold.kernel.errors import CallerError

Engine = Literal["vllm", "trtllm", "sglang"]
ENGINES: tuple[Engine, ...] = ("vllm", "trtllm", "sglang")
BYTES = {"bf16": 2.0, "fp8": 1.0, "fp4": 0.5625, "int4": 0.5625}  # of a weight, with the scales of the four-bit ones
USABLE = 0.9  # of the memory, for weights and cache; the rest is the engine's
_CACHE_BYTES = {"vllm": 2.0, "trtllm": 1.0, "sglang": 2.0}  # of an element of the cache, as the engines come
_ROUNDS = 60
MOST_AT_ONCE = 1_024  # requests that an engine serves at once, as it is usually set up; few points were measured beyond
PARTS = ("dense", "experts", "cache", "arithmetic", "layer", "hop", "link", "request", "prefill", "prefill_link")
FIRST = ("constant", "step", "prompt", "prompt_link", "crowd")


@dataclass(frozen=True, slots=True)
class Setup:
    """What serves. gpus: of one replica; copies: how many of them hold the attention each for itself (data parallel), the rest cuts it (tensor parallel)."""

    model: Model
    gpu: Gpu
    gpus: int
    engine: Engine
    precision: str
    copies: int = 1

    @property
    def cut(self) -> int:
        return max(1, self.gpus // self.copies)


class Fit(msgspec.Struct, frozen=True):
    """Fitted constants. step: factors of `PARTS`; first: factors of `FIRST`; …_low, …_high: what measured points were of predicted ones, at the 10th and
    90th percentile, for a model, GPU and engine that the fit had not seen; gpus, models: those that it had; points: how many.
    """

    engine: str
    kind: str
    points: int
    gpus: tuple[str, ...]
    models: tuple[str, ...]
    step: tuple[float, ...]
    first: tuple[float, ...]
    step_low: float
    step_high: float
    first_low: float
    first_high: float


class Fitted(msgspec.Struct, frozen=True):
    """All fits; of the engine "any" are those over all engines together."""

    source: str
    date: str
    fits: tuple[Fit, ...]

    def of(self, engine: str, kind: str) -> tuple[Fit, bool]:
        """The fit for an engine and a kind of model, and whether it is of this engine."""
        own = next((fit for fit in self.fits if (fit.engine, fit.kind) == (engine, kind)), None)
        return (own, True) if own is not None else (self.of("any", kind)[0], False)


def load() -> Fitted:
    """The fit that comes with Freehold."""
    raw = resources.files("freehold.forecast").joinpath("fitted.json").read_bytes()
    return msgspec.json.decode(raw, type=Fitted)


class Span(msgspec.Struct, frozen=True):
    """A number and the interval that holds eight of ten."""

    value: float
    low: float
    high: float


class Serving(msgspec.Struct, frozen=True):
    """What a set-up does. ttft_s, tpot_s: seconds; tokens_s: output tokens a second, of all requests; slots: how many requests the cache holds;
    batch: how many are served at once; concurrency: how many are there, waiting or served; utilisation: of the most output that it could give;
    note: what widens the interval, or is not as asked.
    """

    ttft_s: Span
    tpot_s: Span
    tokens_s: Span
    requests_s: float
    slots: int
    batch: float
    concurrency: float
    utilisation: float
    note: str = ""


def slots_of(setup: Setup, input_tokens: float, output_tokens: float) -> float:
    """How many requests of a size the cache holds. Raises CallerError `forecast.does_not_fit` if not even one."""
    model, bytes_ = setup.model, BYTES[setup.precision]
    weights = (model.expert_b / setup.gpus + model.dense_b / setup.cut) * bytes_
    free = (setup.gpu.memory_gb * USABLE - weights) * 1e9
    spread = min(setup.cut, model.kv_heads)
    one = model.cached(input_tokens + output_tokens) * _CACHE_BYTES[setup.engine] / spread
    slots = free / one * setup.copies
    if free <= 0 or slots < 1:
        need = (weights + one / 1e9) / USABLE
        raise CallerError(
            f"{model.name} in {setup.precision} with one request of {input_tokens + output_tokens:.0f} tokens needs {need:.0f} GB on each of {setup.gpus} {setup.gpu.name}, which has {setup.gpu.memory_gb:.0f}.",
            code="forecast.does_not_fit",
            hint="Take more GPUs, a larger one, or fewer bits for each weight.",
        )
    return slots


def parts_of(
    setup: Setup, batch: float, input_tokens: float, output_tokens: float, fresh: float = 1.0
) -> tuple[float, ...]:
    """Seconds of one decoding step at the limits of the hardware, in the order of `PARTS` (constants as counts): what the fitted factors multiply.
    fresh: the share of a prompt that is not in the cache already.
    """
    model, gpu, n = setup.model, setup.gpu, setup.gpus
    bytes_, bandwidth = BYTES[setup.precision], gpu.bandwidth_tb_s * 1e12
    touched = 1 - (1 - model.experts_per_token / model.experts) ** batch if model.experts else 0.0
    cache = model.cached(input_tokens + output_tokens / 2) * _CACHE_BYTES[setup.engine]
    spread = min(setup.cut, model.kv_heads) * setup.copies
    flops = n * gpu.flops(setup.precision)
    link = 2 * model.layers * model.hidden * 2 * (1 - 1 / n) / (gpu.link_gb_s * 1e9)
    share = batch * input_tokens * fresh / output_tokens  # prompt tokens for each step
    return (
        model.dense_b * 1e9 * bytes_ / setup.cut / bandwidth,
        model.expert_b * 1e9 * bytes_ / n * touched / bandwidth,
        batch * cache / spread / bandwidth,
        2 * model.active_b * 1e9 * batch / flops,
        model.layers,
        2.0 * model.layers if n > 1 else 0.0,
        link * batch,
        batch,
        share * _prompt_flops(model, input_tokens) / flops,
        share * link,
    )


def first_of(setup: Setup, batch: float, input_tokens: float, step_s: float, fresh: float = 1.0) -> tuple[float, ...]:
    """Seconds until the first token at the limits of the hardware, in the order of `FIRST`. fresh: as above."""
    model, n, asked = setup.model, setup.gpus, input_tokens * fresh
    prompt = asked * _prompt_flops(model, input_tokens) / (n * setup.gpu.flops(setup.precision))
    link = asked * 2 * model.layers * model.hidden * 2 * (1 - 1 / n) / (setup.gpu.link_gb_s * 1e9)
    return 1.0, step_s, prompt, link, prompt * batch


def _prompt_flops(model: Model, input_tokens: float) -> float:
    """Operations for one token of a prompt: its active weights, and on average half the prompt before it."""
    seen = input_tokens / 2
    before = seen * (1 - model.windowed) + min(seen, model.window) * model.windowed if model.window else seen
    return 2 * model.active_b * 1e9 + 4 * model.layers * model.heads * model.head_size * before


def sum_of(parts: tuple[float, ...], factors: tuple[float, ...]) -> float:
    return math.fsum(part * factor for part, factor in zip(parts, factors, strict=True))


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked: tokens of a prompt and an answer, on average; variation: how much they vary (coefficient of variation of the service time);
    prefix: the share of a prompt that is in the engine's cache already, because it repeats; long_input: tokens of a long prompt, for which a target of the
    first token has to hold (0: of the mean one).
    """

    input_tokens: float
    output_tokens: float
    variation: float = 1.0
    prefix: float = 0.0
    long_input: float = 0.0

    def __post_init__(self) -> None:
        if not (self.input_tokens >= 1 and self.output_tokens >= 1 and math.isfinite(self.input_tokens + self.output_tokens)):  # fmt: skip
            raise CallerError("A request has at least one token of input and one of output.", code="forecast.tokens")


class Predictor:
    """Predicts with one set of fitted constants."""

    def __init__(self, fitted: Fitted | None = None) -> None:
        self._fitted = fitted or load()

    def at_concurrency(self, setup: Setup, work: Work, concurrency: float) -> Serving:
        """So many requests are always there: whoever gets an answer asks again. Raises CallerError."""
        if not 1 <= concurrency < 1e7:
            raise CallerError("The concurrency must be at least 1.", code="forecast.load")
        _check(setup)
        slots = slots_of(setup, work.input_tokens, work.output_tokens)
        batch = min(concurrency, slots)
        first, step = self._times(setup, work, batch)
        served = first + (work.output_tokens - 1) * step
        rate = batch / served
        waited = (concurrency - batch) / rate  # Little's law for those who wait
        return self._serving(setup, work, slots, batch, concurrency, (first + waited, step, rate))

    def at_rate(self, setup: Setup, work: Work, requests_s: float) -> Serving:
        """So many requests come a second, whatever happens. Raises CallerError `forecast.saturated` if they are more than can be served."""
        if not 0 < requests_s < 1e7:
            raise CallerError("The rate must be above zero.", code="forecast.load")
        _check(setup)
        slots = slots_of(setup, work.input_tokens, work.output_tokens)
        most = self._most(setup, work, slots)
        if requests_s >= most:
            raise CallerError(
                f"{setup.gpus} {setup.gpu.name} with {setup.engine} serve {most:.3g} requests of this size a second, not {requests_s:.3g}.",
                code="forecast.saturated",
                hint="Take more replicas, or GPUs; a queue would grow without end.",
            )
        low, high = 0.0, slots
        for _ in range(_ROUNDS):  # the batch at which as many leave as come: served time grows with it, so there is one
            batch = (low + high) / 2
            first, step = self._times(setup, work, max(batch, 1.0))
            if batch / (first + (work.output_tokens - 1) * step) < requests_s:
                low = batch
            else:
                high = batch
        batch = high
        first, step = self._times(setup, work, max(batch, 1.0))
        served, load = first + (work.output_tokens - 1) * step, requests_s / most
        k = max(1.0, math.floor(slots))
        waited = load ** (math.sqrt(2 * (k + 1)) - 1) / (k * (1 - load)) * served * (1 + work.variation**2) / 2
        return self._serving(
            setup, work, slots, batch, requests_s * (served + waited), (first + waited, step, requests_s)
        )

    def most(self, setup: Setup, work: Work, *, ttft_s: float = math.inf, tpot_s: float = math.inf) -> Serving:
        """What is served at the most requests a second that are within two targets: a long prompt's first token, and each token after it.

        Raises CallerError `forecast.latency` if not even one request is.
        """
        _check(setup)
        slots = slots_of(setup, work.input_tokens, work.output_tokens)
        first, step = self._longest(setup, work, 1.0)
        if first > ttft_s or step > tpot_s:
            raise CallerError(
                f"{setup.model.name} on {setup.gpus} {setup.gpu.name} takes {first * 1000:.0f} ms to the first token and {step * 1000:.1f} ms for each after it, alone.",
                code="forecast.latency",
                hint="Take more GPUs or fewer bits for each weight, or allow more time.",
            )
        low, high = 1.0, min(slots, MOST_AT_ONCE * float(setup.copies))
        for _ in range(_ROUNDS):  # times grow with the batch, so the largest that meets the targets is found by halving
            batch = (low + high) / 2
            first, step = self._longest(setup, work, batch)
            low, high = (batch, high) if first <= ttft_s and step <= tpot_s else (low, batch)
        served = self.at_concurrency(setup, work, low)
        longer = self._longest(setup, work, low)[0] / self._times(setup, work, low)[0]
        ttft = Span(*(end * longer for end in (served.ttft_s.value, served.ttft_s.low, served.ttft_s.high)))
        return msgspec.structs.replace(served, ttft_s=ttft)

    def _longest(self, setup: Setup, work: Work, batch: float) -> tuple[float, float]:
        """Seconds to the first token of a long prompt among the usual ones, and for each after it."""
        fit, _ = self._fit(setup)
        first, step = self._times(setup, work, batch)
        if work.long_input > work.input_tokens:
            first = sum_of(first_of(setup, batch, work.long_input, step, 1 - work.prefix), fit.first)
        return first, step

    def _most(self, setup: Setup, work: Work, slots: float) -> float:
        """Requests a second with every slot taken."""
        first, step = self._times(setup, work, slots)
        return slots / (first + (work.output_tokens - 1) * step)

    def _times(self, setup: Setup, work: Work, batch: float) -> tuple[float, float]:
        """Seconds to the first token and for each after it, where nobody waits for a slot."""
        fit, _ = self._fit(setup)
        fresh = 1 - work.prefix
        step = sum_of(parts_of(setup, batch, work.input_tokens, work.output_tokens, fresh), fit.step)
        return sum_of(first_of(setup, batch, work.input_tokens, step, fresh), fit.first), step

    def _fit(self, setup: Setup) -> tuple[Fit, bool]:
        return self._fitted.of(setup.engine, "experts" if setup.model.experts else "dense")

    def _serving(
        self,
        setup: Setup,
        work: Work,
        slots: float,
        batch: float,
        concurrency: float,
        times: tuple[float, float, float],
    ) -> Serving:
        fit, is_own = self._fit(setup)
        first, step, rate = times
        notes, wider = [], 1.0
        if not is_own:
            notes.append(f"no {fit.kind} model was measured with {setup.engine}")
            wider *= 1.6
        if setup.gpu.name not in fit.gpus:
            notes.append(f"{setup.gpu.name} was not measured")
            wider *= 1.4
        if not {setup.model.name, setup.model.like} & set(fit.models):
            notes.append(f"{setup.model.name} was not measured")
            wider *= 1.2
        notes += [f"the facts of {row.name} were not checked" for row in (setup.model, setup.gpu) if not row.is_checked]
        if setup.precision == "int4" and setup.gpu.name not in fit.gpus:
            notes.append("four-bit weights with 16-bit arithmetic were measured on one GPU alone")
        tpot = Span(step, step * fit.step_low**wider, step * fit.step_high**wider)
        ttft = Span(first, first * fit.first_low**wider, first * fit.first_high**wider)
        out = rate * work.output_tokens
        span = Span(out, out / fit.step_high**wider, out / fit.step_low**wider)
        most = self._most(setup, work, slots)
        return Serving(ttft, tpot, span, rate, int(slots), batch, concurrency, rate / most, "; ".join(notes))


def _check(setup: Setup) -> None:
    if setup.precision not in BYTES:
        raise CallerError(f"{setup.precision!r} is no precision.", code="forecast.precision", hint=f"One of {', '.join(BYTES)}.")  # fmt: skip
    if setup.gpus < 1 or setup.copies < 1 or setup.gpus % setup.copies:
        raise CallerError("GPUs must be at least one, and divide by the copies.", code="forecast.gpus")
    if setup.gpus > setup.gpu.per_node * 9:
        raise CallerError(f"{setup.gpus} GPUs are more than one replica has.", code="forecast.gpus", hint="Ask for one replica.")  # fmt: skip
