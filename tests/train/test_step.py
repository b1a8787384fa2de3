"""One step: what a token sees, equal gradients, equal losses, and what the step needs installed."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from taiyi_ray.errors import ModelError
from taiyi_ray.train import network
from taiyi_ray.train.attention import Layout
from taiyi_ray.train.network import Method, NetworkSettings, load, trained
from taiyi_ray.train.packing import Row, blocks, packed, tensors
from taiyi_ray.train.step import Stepper, StepSettings
from tests.train.small import make_model, token_records

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


def rows_of(records: list, *, share: bool, row_tokens: int = 160) -> list[Row]:
    (rows,) = packed(blocks(records, row_tokens, share=share), 1, row_tokens)
    return rows


def gradients(
    folder: Path, settings: NetworkSettings, rows: list[Row], targets: int
) -> tuple[float, torch.Tensor]:
    model = load(folder, settings, CPU)
    bf16 = settings.precision == "bf16"
    stepper = Stepper(model, StepSettings(bf16=bf16), 2, CPU)
    for name, weights in trained(model).items():
        if "lora_B" in name:  # they begin as zeros, behind which A has no gradient
            torch.manual_seed(len(name))
            torch.nn.init.normal_(weights, std=0.1)
    sums = stepper._summed(rows, targets)
    grads = torch.cat([weights.grad.flatten() for weights in trained(model).values()])
    return float(sums[0].sum() / targets), grads


def test_packed_tokens_have_the_losses_that_transformers_gives_each_record(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = load(folder, NetworkSettings("full", "float32"), CPU)
    stepper = Stepper(model, StepSettings(bf16=False), 2, CPU)
    for share in (False, True):
        for row in rows_of(token_records(), share=share):
            mine = stepper.losses(tensors(row))
            wanted = []
            for block in row:
                for record in block.records:
                    ids = torch.from_numpy(record.ids)
                    logits = plain(input_ids=ids[None]).logits[0]
                    for start, end in record.answers:
                        wanted.append(
                            F.cross_entropy(
                                logits[start - 1 : end - 1], ids[start:end], reduction="none"
                            )
                        )
            torch.testing.assert_close(mine, torch.cat(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(("precision", "near"), [("float32", 1e-5), ("bf16", 3e-2)])
def test_shared_packed_and_separate_records_give_the_same_gradients(
    folder: Path, method: network.Method, precision: network.Precision, near: float,
    checkpointing: bool,
) -> None:  # fmt: skip
    records = token_records(9)
    targets = sum(record.targets for record in records)
    settings = NetworkSettings(method, precision, rank=4, activation_checkpointing=checkpointing)
    separate = [row for record in records for row in rows_of([record], share=False)]
    loss, wanted = gradients(folder, settings, separate, targets)
    for share in (False, True):
        rows = rows_of(records, share=share)
        assert len(rows) < len(separate)
        got, found = gradients(folder, settings, rows, targets)
        assert got == pytest.approx(loss, rel=near)
        assert (found - wanted).norm() <= near * wanted.norm()


def test_a_token_sees_neither_other_branches_nor_other_blocks(folder: Path) -> None:
    records = token_records(6)
    model = load(folder, NetworkSettings("full", "float32"), CPU)
    stepper = Stepper(model, StepSettings(bf16=False), 2, CPU)
    (row,) = rows_of(records, share=True, row_tokens=400)
    before = stepper.losses(tensors(row))
    changed = copy.deepcopy(row)
    changed[0].records[0].ids[-4:] = 5  # behind the prefix of this block
    after = stepper.losses(tensors(changed))
    mine = len([1 for record in row[0].records[:1] for _ in range(record.targets)])
    assert not torch.equal(before[:mine], after[:mine])
    assert torch.equal(before[mine:], after[mine:])


def test_a_model_that_mixes_the_records_of_a_row_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    settings = NetworkSettings("full")
    Stepper(load(folder, settings, CPU), StepSettings(), 1, CPU).check_apart()
    mixing = Lfm2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_attention_heads=2,
        num_key_value_heads=2, num_hidden_layers=2, layer_types=["conv", "full_attention"],
    )  # fmt: skip
    Lfm2ForCausalLM(mixing).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="mixes the records of a row"):
        Stepper(load(tmp_path, settings, CPU), StepSettings(), 1, CPU).check_apart()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles by g++ on a CPU")
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_learn_the_same(folder: Path, method: Method) -> None:
    records = token_records(9)
    curves = []
    for compiled in (False, True):
        settings = NetworkSettings(
            method, "float32", rank=4, activation_checkpointing=True, compile=compiled
        )
        stepper = Stepper(load(folder, settings, CPU), StepSettings(bf16=False), 2, CPU)
        stepper.check_apart()
        curves.append([])
        for size in (2, 5, 9, 3):  # rows of other lengths
            rows = rows_of(records[:size], share=True)
            targets = sum(record.targets for record in records[:size])
            curves[-1].append(stepper.step(rows, targets, 1e-2, 0).loss)
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_a_model_whose_results_are_no_numbers_is_refused_for_that(folder: Path) -> None:
    model = load(folder, NetworkSettings("full", "float32"), CPU)
    stepper = Stepper(model, StepSettings(bf16=False), 1, CPU)
    assert stepper.finite
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    assert not stepper.finite
    with pytest.raises(ModelError, match="is no number, before it learns anything"):
        stepper.check_apart()


def test_the_loss_falls_and_is_the_same_in_any_packing(folder: Path) -> None:
    records = token_records(12)
    targets = sum(record.targets for record in records)
    curves = []
    for share, row_tokens in ((True, 64), (False, 200)):
        model = load(folder, NetworkSettings("lora", "float32", rank=8), CPU)
        stepper = Stepper(model, StepSettings(learning_rate=1e-2, bf16=False), 2, CPU)
        rows = rows_of(records, share=share, row_tokens=row_tokens)
        curves.append([stepper.step(rows, targets, 1e-2, 0).loss for _ in range(15)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0][-1] < curves[0][0] / 2


def test_losses_are_counted_by_kind(folder: Path) -> None:
    records = token_records(8)
    model = load(folder, NetworkSettings("lora", "float32", rank=2), CPU)
    seen = Stepper(model, StepSettings(bf16=False), 2, CPU).look(rows_of(records, share=True))
    assert seen.targets.tolist() == [
        sum(record.targets for record in records if record.kind == kind) for kind in (0, 1)
    ]
    assert seen.loss == pytest.approx(seen.losses.sum() / seen.targets.sum())


def test_weights_stay_when_the_loss_is_no_number(folder: Path) -> None:
    records = token_records(2)
    model = load(folder, NetworkSettings("full", "float32"), CPU)
    stepper = Stepper(model, StepSettings(bf16=False), 2, CPU)
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    before = {name: weights.clone() for name, weights in trained(model).items()}
    assert not stepper.step(rows_of(records, share=True), 8, 1e-3, 0).finite
    for name, weights in trained(model).items():
        assert torch.equal(weights.nan_to_num(7), before[name].nan_to_num(7))


def test_rates_rise_and_then_stay_or_fall() -> None:
    constant = StepSettings(learning_rate=1.0, warmup=0.2)
    assert [constant.rate(n, 10) for n in range(4)] == [0.5, 1.0, 1.0, 1.0]
    cosine = StepSettings(learning_rate=1.0, schedule="cosine")
    assert [round(cosine.rate(n, 4), 3) for n in range(4)] == [1.0, 0.854, 0.5, 0.146]


def test_rslora_divides_by_the_root_of_the_rank(folder: Path) -> None:
    (row,) = rows_of(token_records(1), share=True)
    changes = []
    for rslora in (False, True):
        settings = NetworkSettings("lora", "float32", rank=16, rslora=rslora, targets=["q_proj"])
        model = load(folder, settings, CPU)
        stepper = Stepper(model, StepSettings(bf16=False), 2, CPU)
        before = stepper.losses(tensors(row))
        with torch.no_grad():
            for name, weights in trained(model).items():
                if "lora_B" in name:
                    weights.fill_(1e-4)
        changes.append((stepper.losses(tensors(row)) - before).detach().double())
    ratio = changes[1].norm() / changes[0].norm()
    assert float(ratio) == pytest.approx(4, rel=0.05), "16 / 4, where changes are small"


def test_lora_plus_gives_b_a_rate_of_its_own(folder: Path) -> None:
    model = load(folder, NetworkSettings("lora", "float32", rank=2), CPU)
    stepper = Stepper(model, StepSettings(lora_plus=16, bf16=False), 2, CPU)
    stepper.step(rows_of(token_records(3), share=True), 12, 1e-3, 0)
    assert [group["lr"] for group in stepper.optimiser.param_groups] == [1e-3, 16e-3]


def test_layers_that_do_not_exist_are_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelError, match="no linear layer 'qproj'; did you mean 'q_proj'"):
        load(folder, NetworkSettings(targets=["qproj"]), CPU)
    with pytest.raises(ModelError, match=r"no linear layer 'layers\.9\.q_proj'"):
        load(folder, NetworkSettings(targets=["layers.9.q_proj"]), CPU)


def test_a_window_of_attention_that_is_shorter_than_a_record_is_refused() -> None:
    from taiyi_ray.train.attention import attend

    heads = torch.zeros(1, 2, 8, 4)
    layout = Layout(((0, (8,)),), CPU)
    with pytest.raises(ModelError, match="looks back 4 tokens; give --row-tokens 4"):
        attend(torch.nn.Identity(), heads, heads, heads, None, layout=layout, sliding_window=4)
    with pytest.raises(ModelError, match="does not hand the layout"):
        attend(torch.nn.Identity(), heads, heads, heads, None)


def test_the_arrays_for_one_call_on_cuda_say_what_each_sequence_sees() -> None:
    layout = Layout(((2, (2, 1)), (0, (3,))), CPU)
    seen, queries, keys, most = layout.varlen
    assert seen.tolist() == [0, 1, 0, 1, 2, 3, 0, 1, 4, 5, 6, 7]
    assert (queries.tolist(), keys.tolist()) == ([0, 2, 4, 5, 8], [0, 2, 6, 9, 12])
    assert (most, layout.longest) == (3, 4)


def test_a_step_needs_torch_transformers_peft_safetensors_and_numpy_only() -> None:
    others = [
        "ray", "pyarrow", "pydantic", "tenacity", "vllm", "s3fs", "platformdirs", "openai", "lxml",
        "duckdb", "tensorboardX",
    ]  # fmt: skip
    script = (
        f"import sys\nfor name in {others}: sys.modules[name] = None\n"
        "import taiyi_ray.train.step, taiyi_ray.train.order\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_attention_on_cuda_is_computed_in_the_numbers_of_autocast() -> None:
    from taiyi_ray.train.attention import _computed_in

    query = torch.zeros(1, 2, 8, 4)
    assert _computed_in(query) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert _computed_in(query) == torch.bfloat16


def test_gradients_are_sent_in_few_messages_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from taiyi_ray.train import step

    monkeypatch.setattr(step, "_BUCKET", 100)
    grads = [torch.zeros(size) for size in (10, 10, 10, 40, 5, 5)]
    sizes = [[grad.numel() for grad in bucket] for bucket in step._buckets(grads)]
    assert sizes == [[10, 10], [10], [40], [5, 5]]


def as_flash_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, queries: torch.Tensor,
    keys: torch.Tensor, max_q: int, max_k: int, *, scale: float | None,
    window_size: tuple[int, int], enable_gqa: bool,
) -> torch.Tensor:  # fmt: skip
    """What torch documents of `varlen_attn`, on a CPU; causal is aligned to the last key."""
    assert window_size == (-1, 0)
    assert max_q == queries.diff().max() and max_k == keys.diff().max()
    parts = []
    for n in range(len(queries) - 1):
        q, k, v = (
            each[ends[n] : ends[n + 1]].transpose(0, 1)[None]
            for each, ends in ((query, queries), (key, keys), (value, keys))
        )
        size = (q.shape[2], k.shape[2])
        mask = torch.ones(size, dtype=torch.bool).tril(size[1] - size[0])
        parts.append(
            F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scale, enable_gqa=enable_gqa
            )[0].transpose(0, 1)
        )
    return torch.cat(parts)


@pytest.mark.parametrize("scaling", [0.3, None])
def test_short_blocks_give_what_a_call_a_branch_gives(
    monkeypatch: pytest.MonkeyPatch, scaling: float | None
) -> None:
    from taiyi_ray.train import attention

    blocks = ((5, (3, 2, 4)), (0, (6,)), (2, (1, 1)))
    torch.manual_seed(0)
    heads = [torch.randn(1, n, 14 + 6 + 4, 8, requires_grad=True) for n in (4, 2, 2)]
    weights = torch.randn(1, 14 + 6 + 4, 4, 8)
    results = []
    for short in (0, 7, 768):
        monkeypatch.setattr(attention, "SHORT", short)
        layout = Layout(blocks, CPU)
        alone = [prefix + sum(branches) > short for prefix, branches in blocks]
        assert [mask is None for mask in layout.masks] == alone
        found = attention._by_block(*heads, scaling, 0.0, layout)
        results.append((found, *torch.autograd.grad((found * weights).sum(), heads)))
    for each in results[1:]:
        torch.testing.assert_close(each, results[0])


def test_one_call_for_a_row_gives_what_a_call_a_branch_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from taiyi_ray.train import attention

    monkeypatch.setattr(attention, "_VARLEN", as_flash_attention)
    layout = Layout(((5, (3, 2, 4)), (0, (6,)), (2, (1, 1))), CPU)
    torch.manual_seed(0)
    tokens = 14 + 6 + 4
    heads = [torch.randn(1, n, tokens, 8, requires_grad=True) for n in (4, 2, 2)]
    weights = torch.randn(1, tokens, 4, 8)
    found, wanted = (
        attention._by_varlen(*heads, 0.3, layout),
        attention._by_block(*heads, 0.3, 0.0, layout),
    )
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), heads),
        torch.autograd.grad((wanted * weights).sum(), heads),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
