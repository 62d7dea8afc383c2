"""The training loop: seeds, hooks, groups, refusals, records, and the frozen baselines."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from adapter_cases import READY
from torch import nn

from surm_lite.adapters import METHODS, Method, adapt, adapters_of, merge, methods_of
from surm_lite.data import LabelledSet, Split, flip_and_shift, load
from surm_lite.device import device, peak_memory, seeded
from surm_lite.evaluate import accuracy, features, knn_accuracy, linear_probe
from surm_lite.models import ViT, ViTConfig, tiny_vit
from surm_lite.training.optimizer import build_optimizer
from surm_lite.training.record import Record
from surm_lite.training.run import State
from surm_lite.training.schedule import schedule_factor
from surm_lite.training.train import train

QUIET = {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def digits() -> LabelledSet:
    return load("digits", train=96, validation=40, test=40)


def small(classes: int = 10, seed: int = 0) -> ViT:
    return ViT(
        ViTConfig(width=16, depth=2, heads=2, num_classes=classes), generator=torch.Generator().manual_seed(seed)
    )


def same_but_for_time(one: Record, two: Record) -> bool:
    still = {"seconds": 0.0, "peak_memory": None}
    return dataclasses.replace(one, **still) == dataclasses.replace(two, **still)


def test_the_same_seed_gives_the_same_record_and_global_chance_is_untouched(digits):
    before = torch.get_rng_state()
    one, two, other = (
        train(small(), digits, epochs=2, seed=seed, augment=flip_and_shift, **QUIET) for seed in (3, 3, 4)
    )
    assert same_but_for_time(one, two)
    assert one.loss != other.loss
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_follows_the_seed_too(digits):
    def net() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))

    one, two, other = (train(net(), digits, epochs=1, seed=seed, **QUIET) for seed in (3, 3, 4))
    assert one.loss == two.loss
    assert one.loss[0] != other.loss[0]


def test_a_run_learns(digits):
    model = tiny_vit(num_classes=10)
    record = train(model, digits, epochs=5, lr=3e-3, **QUIET)
    assert record.loss[-1] < 0.5 * record.loss[0]
    assert record.validation_score[5] > 0.6
    assert record.test_score == accuracy(model, digits.test)
    assert record.data == {"name": "digits", "train": 96, "validation": 40, "test": 40, "task": "Classification"}
    assert record.parameters["trained"] == sum(p.numel() for p in model.parameters())
    assert len(record.loss) == 5 * 3
    assert len(record.train_score) == 5
    assert record.seconds > 0


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", sorted(READY))
def test_every_method_trains_its_adapter_and_the_head_and_nothing_else(name, digits):
    model = adapt(tiny_vit(num_classes=10), name, ("attn.proj",))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    record = train(model, digits, epochs=2, lr=3e-3, **QUIET)
    after = model.state_dict().items()  # a weight may have come down to factors
    changed = {key for key, value in after if key not in before or not torch.equal(value, before[key])}
    trained = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    own = {f"{key}.{name}" for key, a in adapters_of(model).items() for name in a.own()}  # a ramp moves too
    assert trained <= changed <= trained | own
    assert {"head.weight", "head.bias"} < changed
    decided = {"ranks": methods_of(model)[0].ranks} if "ranks" in METHODS[name]().options() else {}
    assert all(key.startswith("head.") or ".attn.proj." in key for key in changed)
    assert record.methods == [
        {"name": name, "options": METHODS[name]().options() | decided, "layers": record.methods[0]["layers"]}
    ]
    assert len(record.methods[0]["layers"]) == 6
    if METHODS[name].mergeable:
        assert accuracy(merge(model), digits.test) == record.test_score


LOSSES = [lambda: torch.zeros(()), lambda: torch.ones(())]


@dataclasses.dataclass
class Recorder(Method):
    """LoRA that writes down when each hook was called."""

    name = "recorder"
    paper = "none"
    rebuild: bool = False

    def __post_init__(self):
        self.calls = []
        self.inner = METHODS["lora"](rank=1)

    def calibrate(self, model, layers, losses):
        assert not adapters_of(model)
        self.calls.append(("calibrate", list(layers), list(losses)))

    def wrap(self, name, layer, generator):
        self.calls.append(("wrap", name))
        adapter = self.inner.wrap(name, layer, generator)
        adapter.method = self
        return adapter

    def operator(self, m, n, tensors):
        return self.inner.operator(m, n, tensors)

    def param_groups(self, model):
        self.calls.append("param_groups")
        return []

    def before_step(self, state):
        self.calls.append(("before_step", state.step, state.total_steps))

    def penalty(self, state):
        self.calls.append("penalty")
        return 100.0

    def after_backward(self, state):
        assert all(p.grad is not None for group in state.optimizer.param_groups for p in group["params"])
        self.calls.append(("after_backward", state.step))

    def after_step(self, state):
        self.calls.append(("after_step", state.step, round(state.lr, 6)))

    def after_epoch(self, state):
        self.calls.append(("after_epoch", state.epoch))
        return self.rebuild

    def finish(self, model):
        self.calls.append("finish")


def test_hooks_are_called_in_order(digits):
    model = adapt(small(), Recorder(rebuild=True), ("qkv",), losses=LOSSES)
    (method,) = methods_of(model)
    record = train(model, digits, epochs=2, batch_size=64, lr=1e-3, schedule="constant", **QUIET)
    steps = [[("before_step", s, 4), "penalty", ("after_backward", s), ("after_step", s + 1, 0.001)] for s in range(4)]
    assert method.calls == [
        ("calibrate", ["blocks.0.attn.qkv", "blocks.1.attn.qkv"], LOSSES),
        ("wrap", "blocks.0.attn.qkv"), ("wrap", "blocks.1.attn.qkv"),
        "param_groups", *steps[0], *steps[1], ("after_epoch", 1), "param_groups",
        *steps[2], *steps[3], ("after_epoch", 2), "param_groups", "finish",
    ]  # fmt: skip
    assert record.penalty == [100.0] * 4
    assert max(record.loss) < 10  # the penalty is no part of the loss


def test_pieces_of_a_batch_are_one_step_for_the_hooks(digits):
    model = adapt(small(), Recorder(), ("qkv",))
    (method,) = methods_of(model)
    train(model, digits, epochs=1, batch_size=64, accumulate=4, lr=1e-3, schedule="constant", **QUIET)
    steps = [[("before_step", s, 2), "penalty", ("after_backward", s), ("after_step", s + 1, 0.001)] for s in range(2)]
    assert method.calls[2:] == ["param_groups", *steps[0], *steps[1], ("after_epoch", 1), "finish"]


def test_a_method_that_needs_data_asks_for_it():
    @dataclasses.dataclass
    class Needy(Recorder):
        needs = ("losses",)

    model = small()
    with pytest.raises(ValueError, match="losses: method 'recorder' looks at data before it starts"):
        adapt(model, Needy(), ("qkv",))
    assert not adapters_of(model)


def test_hooks_without_a_rebuild_build_one_optimizer(digits):
    model = adapt(small(), Recorder(), ("qkv",))
    (method,) = methods_of(model)
    train(model, digits, epochs=2, **QUIET)
    assert method.calls.count("param_groups") == 1


def test_a_rebuilt_optimizer_keeps_moments_and_makes_no_difference(digits):
    losses = []
    for rebuild in (False, True):
        model = adapt(small(), Recorder(rebuild=rebuild), ("qkv",))
        losses.append(train(model, digits, epochs=3, lr=1e-2, **QUIET).loss)
    assert losses[0] == losses[1]


def test_groups_of_methods_head_and_vectors():
    model = small()
    proj = model.blocks[0].attn.proj.weight
    norm = model.blocks[0].norm1.weight

    @dataclasses.dataclass
    class Grouping(Recorder):
        def param_groups(self, model):
            return [{"params": [proj], "lr_scale": 5.0}, {"params": [norm], "lr": 0.5, "weight_decay": 0.0}]

    optimizer = build_optimizer(model, [Grouping()], lr=1e-3, head_lr=2e-3, weight_decay=0.1)
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    assert of[id(proj)]["peak_lr"] == pytest.approx(5e-3)
    assert of[id(norm)]["peak_lr"] == 0.5
    assert of[id(model.head.weight)]["peak_lr"] == 2e-3
    assert (of[id(model.head.weight)]["weight_decay"], of[id(model.head.bias)]["weight_decay"]) == (0.1, 0.0)
    assert of[id(model.blocks[1].attn.qkv.weight)]["peak_lr"] == 1e-3


def test_reset_moments_forgets_one_slot():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = State(layer, optimizer, total_steps=1)
    state.reset_moments(layer.weight, 0)
    moments = optimizer.state[layer.weight]
    assert moments["exp_avg"][0].tolist() == [0, 0, 0]
    assert (moments["exp_avg"][1] != 0).all()
    assert moments["step"] == 1
    state.reset_moments(layer.weight)
    assert (moments["exp_avg_sq"] == 0).all()


def test_max_steps_gives_the_first_steps_of_the_whole_run(digits):
    whole = train(small(), digits, epochs=2, **QUIET)
    part = train(small(), digits, epochs=2, max_steps=4, **QUIET)
    assert part.loss == whole.loss[:4]
    assert len(part.train_score) == 2
    few = dataclasses.replace(digits, validation=digits.validation[:5], test=digits.test[:5])
    assert train(small(), few, epochs=2, max_steps=4, **QUIET).loss == part.loss


def test_evaluate_every(digits):
    record = train(small(), digits, epochs=5, evaluate_every=2, **QUIET)
    assert sorted(record.validation_score) == [2, 4, 5]


def test_schedules():
    for name in ("onecycle", "cosine", "constant"):
        values = [schedule_factor(name, step / 100) for step in range(101)]
        assert max(values) == pytest.approx(1.0)
        assert all(value >= 0 for value in values)
    assert schedule_factor("cosine", 0.0) == 1.0
    assert schedule_factor("cosine", 0.5) == pytest.approx(0.5)
    assert schedule_factor("onecycle", 0.15) == pytest.approx(0.52)


def test_bfloat16_stays_near_float32_and_keeps_float32_parameters(digits):
    model = adapt(small(), "toeplitz", ("qkv",))
    record = train(model, digits, epochs=1, precision="bfloat16", **QUIET)
    reference = train(adapt(small(), "toeplitz", ("qkv",)), digits, epochs=1, **QUIET)
    assert record.loss == pytest.approx(reference.loss, rel=0.05)
    assert record.loss != reference.loss
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_loss_of_a_task_sees_float32_whatever_the_precision(digits):
    seen = set()

    class Watch(type(digits.task)):
        def loss(self, outputs, targets):
            seen.add(outputs.dtype)
            return super().loss(outputs, targets)

    watched = dataclasses.replace(digits, task=Watch())
    train(adapt(small(), "toeplitz", ("qkv",)), watched, epochs=1, precision="bfloat16", **QUIET)
    assert seen == {torch.float32}


def test_clip_bounds_the_gradient(digits):
    @dataclasses.dataclass
    class Watch(Recorder):
        def after_step(self, state):
            gradients = [p.grad for group in state.optimizer.param_groups for p in group["params"]]
            self.calls.append(torch.stack([g.norm() for g in gradients]).norm().item())

    model = adapt(small(), Watch(), ("qkv",))
    (method,) = methods_of(model)
    train(model, digits, epochs=1, clip=1e-3, **QUIET)
    norms = [call for call in method.calls if isinstance(call, float)]
    assert norms
    assert max(norms) <= 1.001e-3


def test_a_loss_that_is_not_finite_stops_the_run(digits):
    with pytest.raises(FloatingPointError, match=r"at step [1-9]\d* with lr 1e\+2\d; try a smaller lr"):
        train(small(), digits, epochs=5, lr=1e25, schedule="constant", **QUIET)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"lr": -1.0}, "lr: got -1.0"),
        ({"lr": math.nan}, "lr: got nan"),
        ({"head_lr": 0.0}, "head_lr: got 0.0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"max_steps": 0}, "max_steps: got 0"),
        ({"evaluate_every": 0}, "evaluate_every: got 0"),
        ({"weight_decay": -0.1}, "weight_decay: got -0.1"),
        ({"schedule": "cosin"}, "schedule: got 'cosin', need one of onecycle, cosine, constant"),
        ({"precision": "float16"}, "precision: got 'float16'"),
        ({"device": "tpu"}, "device: got 'tpu'"),
        ({"device": "cuda:99"}, "device: got 'cuda:99', this machine has"),
    ],
)
def test_an_option_out_of_range_is_refused(options, words, digits):
    with pytest.raises(ValueError, match=words):
        train(small(), digits, **(QUIET | options))


def test_labels_that_the_model_has_no_output_for_are_refused(digits):
    with pytest.raises(ValueError, match=r"model: gives \(2, 5\) for 2 examples, but digits has 10 classes"):
        train(small(classes=5), digits, **QUIET)
    with pytest.raises(ValueError, match=r"model: gives \(2, 1, 8, 8\)"):
        train(nn.Conv2d(1, 1, 1), digits, **QUIET)


def test_nothing_to_train_is_refused(digits):
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        train(small().requires_grad_(False), digits, **QUIET)


def test_a_model_without_an_image_format_gets_images_between_0_and_1(digits):
    seen = []

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            seen.append((x.shape[1:], x.min().item(), x.max().item()))
            return self.head(x.flatten(1))

    train(Flat(), digits, epochs=1, **QUIET)
    assert {shape for shape, _, _ in seen} == {(1, 8, 8)}
    assert min(low for _, low, _ in seen) == 0.0
    assert max(high for _, _, high in seen) == 1.0


def test_record_round_trip(digits, tmp_path):
    record = train(adapt(small(), "ldr", ("qkv",), rank=2), digits, epochs=2, **QUIET)
    path = tmp_path / "record.json"
    text = record.to_json(path)
    assert Record.from_json(path) == record == Record.from_json(text)
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
    assert record.methods[0]["options"]["rank"] == 2
    assert set(record.versions) == {"surm_lite", "torch", "python"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": {}, "foreign": 1}', "not json"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(ValueError, match="source: is not a training record"):
        Record.from_json(text)


def test_the_name_of_a_file_is_not_taken_for_a_record():
    with pytest.raises(
        ValueError, match=r"source: got 'q\.json', a text that is a file's name; pass Path\('q\.json'\)"
    ):
        Record.from_json("q.json")


def test_a_record_never_holds_what_json_cannot(tmp_path):
    record = Record(data={}, methods=[], options={}, device="cpu", loss=[math.inf])
    with pytest.raises(ValueError, match="JSON"):
        record.to_json(tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []
    assert json.loads(dataclasses.replace(record, loss=[1.0]).to_json())["loss"] == [1.0]


def test_accuracy_counts_and_restores_the_mode(digits):
    model = small().train()
    share = accuracy(model, digits.test, batch_size=7)
    assert model.training
    images = digits.test.inputs
    with torch.inference_mode():
        from surm_lite.data import prepare

        right = (model.eval()(prepare(images, model.image_format)).argmax(-1) == digits.test.labels).sum().item()
    assert share == right / 40


@pytest.mark.slow
def test_frozen_baselines_on_the_shipped_vit():
    data = load("digits", train=300, validation=100, test=200)
    model = tiny_vit()
    knn, k = knn_accuracy(model, data)
    probe, _, head = linear_probe(model, data)
    assert k in (1, 5, 20)
    assert knn > 0.6
    assert probe > 0.6
    right = (head(features(model, data.test)).argmax(-1) == data.test.labels).float().mean().item()
    assert right == pytest.approx(probe)


def test_linear_probe_is_at_the_optimum_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs the book extra")
    data = load("digits", train=200, validation=50, test=100)
    model, decay = tiny_vit(), 1e-2
    _, _, head = linear_probe(model, data, decays=[decay])
    x = features(model, data.train)
    z = (x - x.mean(0)) / (x.std(0) + 1e-6)
    theirs = linear_model.LogisticRegression(C=1 / (decay * len(z)), max_iter=2000, tol=1e-6).fit(z, data.train.labels)
    ours = torch.softmax(head(x), -1).detach()
    assert (ours - torch.from_numpy(theirs.predict_proba(z))).abs().max() < 0.01


def test_device_and_seeded():
    assert device("cpu") == torch.device("cpu")
    assert device().type in ("cuda", "mps", "cpu")
    assert device(torch.device("cpu")).type == "cpu"
    before = torch.get_rng_state()
    with seeded(0, torch.device("cpu")):
        first = torch.rand(3)
    with seeded(0, torch.device("cpu")):
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())
    assert peak_memory(torch.device("cpu")) > 10_000_000


@pytest.mark.gpu
def test_a_run_on_the_gpu_is_near_the_cpu(digits):
    on = device()
    if on.type == "cpu":
        pytest.skip("no CUDA or MPS device")
    reference = train(adapt(small(), "toeplitz", ("qkv",)), digits, epochs=2, **QUIET)
    record = train(adapt(small(), "toeplitz", ("qkv",)), digits, epochs=2, progress=False)
    assert record.loss == pytest.approx(reference.loss, rel=1e-2)
    assert record.peak_memory > 0


def test_progress_bar_can_be_shown(digits, capsys):
    train(small(), digits, epochs=1, device="cpu")
    assert "step" in capsys.readouterr().err


def test_a_split_can_be_indexed(digits):
    part = digits.train[torch.tensor([2, 0])]
    assert isinstance(part, Split)
    assert torch.equal(part.labels, digits.train.labels[[2, 0]])
