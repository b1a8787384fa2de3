"""cluster.yaml and deploy/: valid where Ray can tell, and able to run what the jobs ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from taiyi_ray import placement
from taiyi_ray.config import AnnotateConfig, TrainConfig, load
from taiyi_ray.engine import ENGINES
from taiyi_ray.train.workers import workers_of

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
LOCKS = ("constraints-cpu.txt", "constraints-gpu.txt")


def engine(**settings: Any) -> dict[str, float]:
    """What the actor of an engine asks for; Ray makes such a resource of the kind of its GPU."""
    config = load(
        AnnotateConfig, None, {"inputs": ["in"], "output": "out", "engine": "fake", **settings}
    )
    wanted = ENGINES[config.engine].resources(config)
    kind = {f"accelerator_type:{wanted.accelerator}": 0.001} if wanted.accelerator else {}
    return {"CPU": wanted.cpus, "GPU": wanted.gpus, **kind}


def worker(gpu: str) -> dict[str, float]:
    """What a worker of training asks for."""
    wanted = workers_of(TrainConfig(data="d", output="o", workers=8, gpu=gpu)).each
    return {"CPU": wanted.cpus, "GPU": wanted.gpus, f"accelerator_type:{gpu}": 0.001}


ASKED = [
    {"CPU": placement.SCAN_CPUS},
    {"CPU": placement.READ_CPUS},
    engine(),
    engine(gpu="L40S"),
    engine(engine="http", url="http://host:8000/v1"),
    worker("H100"),
]
"""What tasks and actors of the jobs ask for, each at once."""


@pytest.fixture(scope="module")
def config() -> AutoscalingConfig:
    """cluster.yaml as Ray's cluster launcher and autoscaler read it: filled out, validated."""
    return AutoscalingConfig(yaml.safe_load((ROOT / "cluster.yaml").read_text()), True)


def launched(
    config: AutoscalingConfig, asked: list[dict[str, float]], **availability: float
) -> Any:
    """Node types that Ray's autoscaler would start, and what it could not place."""
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count(
            [ResourceRequestUtil.make(resources) for resources in asked]
        ),
        recoverable_resource_availabilities=availability,
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(request)
    return {one.instance_type: one.count for one in reply.to_launch}, reply


def test_the_cluster_is_as_ray_wants_it(config):
    assert config.get_head_node_type() == "head"
    types = config.get_node_type_configs()
    assert {name for name, one in types.items() if one.min_worker_nodes} == set()
    assert config.get_idle_timeout_s() == 600
    workers = sum(one.max_worker_nodes for name, one in types.items() if name != "head")
    assert config.get_max_num_nodes() == workers + 1
    with pytest.raises(Exception, match="max_wokers"):
        AutoscalingConfig(
            yaml.safe_load((ROOT / "cluster.yaml").read_text()) | {"max_wokers": 1}, True
        )


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_some_node_type_has_what_a_job_asks_for(config, asked):
    types, reply = launched(config, [asked])
    assert not reply.infeasible_resource_requests
    assert sum(types.values()) == 1
    assert "head" not in types


def test_what_no_node_has_is_seen_as_such(config):
    for asked in ({"CPU": 1, "GPU": 16}, engine(gpu="H200"), worker("A100")):
        assert launched(config, [asked])[1].infeasible_resource_requests


def test_engines_are_on_spot_while_there_is_any(config):
    wanted = engine(gpu="L40S")
    assert wanted["GPU"] == 1
    assert launched(config, [wanted])[0] == {"gpu_spot": 1}
    assert launched(config, [wanted] * 16)[0] == {"gpu_spot": 16}
    assert launched(config, [wanted], gpu_spot=0.0)[0] == {"gpu_on_demand": 1}
    assert set(launched(config, [{"CPU": placement.READ_CPUS}])[0]) == {"cpu"}


def test_eight_workers_of_training_share_a_node_that_engines_do_not_take(config):
    workers = [worker("H100")] * 8
    assert launched(config, workers)[0] == {"train": 1}
    assert launched(config, workers * 2)[0] == {"train": 2}
    assert launched(config, workers * 3)[1].infeasible_resource_requests
    both = launched(config, [*workers, *[engine(gpu="L40S")] * 3])[0]
    assert both == {"train": 1, "gpu_spot": 3}


def test_the_cluster_is_closed():
    text = (ROOT / "cluster.yaml").read_text()
    values = yaml.safe_load(text)
    starts = [
        command for name in ("head", "worker") for command in values[f"{name}_start_ray_commands"]
    ]
    started = [command for command in starts if "ray start" in command]
    assert len(started) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in started)
    assert "--dashboard-host=127.0.0.1" in started[0]
    assert not re.search(r"AWS_(ACCESS|SECRET)|aws_access_key", text)
    for name, node in values["available_node_types"].items():
        machine = node["node_config"]
        assert machine["IamInstanceProfile"], name
        assert machine["SecurityGroupIds"], name
        assert machine["MetadataOptions"]["HttpTokens"] == "required", name
        spot = machine.get("InstanceMarketOptions") == {"MarketType": "spot"}
        assert spot == (name in ("gpu_spot", "cpu")), name


# ------------------------------------------------------------------------------------- Kubernetes


MANIFESTS = {
    # Its groups say no kind of GPU, and its command asks for none.
    "rayjob.yaml": [
        {name: number for name, number in asked.items() if "accelerator" not in name}
        for asked in ASKED
    ],
    "rayjob-train.yaml": [worker("H100")] * 8,
}
"""What the jobs of each manifest ask for. The whole files were held against KubeRay's CRD, which is
not in this repository."""


def ray_job(name: str) -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load((DEPLOY / "kuberay" / name).read_text())
    return job


def has(group: dict[str, Any]) -> dict[str, float]:
    """The resources of a pod of a group, as Ray names them."""
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    given = json.loads(json.loads(group["rayStartParams"].get("resources", '"{}"')))
    return {
        "CPU": float(limits["cpu"]),
        "GPU": float(limits.get("nvidia.com/gpu", 0)),
        **given,
    }


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_ray_job_asks_for_what_its_groups_have(name):
    job = ray_job(name)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster_ = job["spec"]["rayClusterSpec"]
    assert cluster_["authOptions"] == {"mode": "token"}
    assert cluster_["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (ray_,) = re.findall(r"^ray==(.*)$", (ROOT / LOCKS[0]).read_text(), re.MULTILINE)
    assert cluster_["rayVersion"] == ray_
    groups = cluster_["workerGroupSpecs"]
    for group in groups:
        assert 0 == group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for asked in MANIFESTS[name]:
        pods = [has(group) for group in groups]
        assert any(all(pod.get(k, 0) >= v for k, v in asked.items()) for pod in pods), asked


def test_engines_on_kubernetes_are_on_spot_first():
    groups = ray_job("rayjob.yaml")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    priority = {group["groupName"]: group.get("priority", 0) for group in groups}
    assert priority["gpu-spot"] > priority["gpu-on-demand"]


def test_the_workers_of_a_training_on_kubernetes_fit_its_nodes():
    job = ray_job("rayjob-train.yaml")
    words = job["spec"]["entrypoint"].split()
    wanted, gpu = int(words[words.index("--workers") + 1]), words[words.index("--gpu") + 1]
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    pod = has(group)
    assert f"accelerator_type:{gpu}" in pod
    assert min(pod["GPU"], pod["CPU"]) * group["maxReplicas"] >= wanted


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_pod_runs_as_root(name):
    cluster_ = ray_job(name)["spec"]["rayClusterSpec"]
    for group in (cluster_["headGroupSpec"], *cluster_["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


# --------------------------------------------------------------------------------------- Dockerfile


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage of the Dockerfile, those of what it builds on first."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = list(found.get(base, [("FROM", base)]))
        else:
            found[name].append((instruction, " ".join(rest.split())))
    return found


@pytest.mark.parametrize("target", ["cpu", "gpu", "cpu-job", "gpu-job"])
def test_an_image_is_made_of_its_lock_file_and_is_not_root(target):
    instructions = stages()[target]
    assert [rest for name, rest in instructions if name == "USER"][-1] == "1000"
    assert instructions[0] == ("FROM", "python:3.11.14-slim-bookworm")
    copied = [rest.split()[:-1] for name, rest in instructions if name == "COPY"]
    sources = [word for words in copied for word in words if not word.startswith("--")]
    assert sources[0] == f"constraints-{target.removesuffix('-job')}.txt"
    assert all((ROOT / source).exists() for source in sources)
    installs = [rest for name, rest in instructions if name == "RUN" and "pip install" in rest]
    assert all("--no-deps" in rest for rest in installs)
    assert len(installs) == (2 if target.endswith("-job") else 1)
    pinned = (ROOT / "constraints-dev.txt").read_text()
    assert re.search(r"^boto3==", pinned, re.MULTILINE)
    (botocore,) = re.findall(r"^botocore==(.*)$", (ROOT / sources[0]).read_text(), re.MULTILINE)
    assert f"boto3=={botocore}" in pinned  # the two are released together


def test_no_more_goes_to_the_builder_than_is_copied():
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = {
        word
        for instructions in stages().values()
        for name, rest in instructions
        if name == "COPY"
        for word in rest.split()[:-1]
        if not word.startswith("--")
    }
    assert kept == copied
