"""What the files below cluster/ speak of exists, is started with the token, and listens where it should."""

import re
import subprocess

import click
import pytest
from cluster_files import ALL, COMPOSE, README, ROOT, commands, of_kind, ray_cluster_specs
from ray.scripts.scripts import cli

from reid_ray import doctor
from reid_ray.config.base import load
from reid_ray.config.named import find
from reid_ray.config.tune import Study

MADE_BY_A_COMMAND = {"cluster/mlflow/.env"}
DRIVERS_OWN = re.compile(r"[A-Z_]+|\.\.\.|ID")


def test_every_path_of_the_repository_exists() -> None:
    found = set()
    for path in [*ALL, ROOT / ".dockerignore"]:
        pattern = r"(?<![\w/.-])(?:cluster|tests|tune_configs|benchmarks)/[\w./-]*\w"
        found |= set(re.findall(pattern, path.read_text()))
    assert len(found) > 10
    missing = {name for name in found if not (ROOT / name).exists()}
    assert missing <= MADE_BY_A_COMMAND


def test_every_module_that_is_run_exists() -> None:
    found = {name for path in ALL for name in re.findall(r'-m[", ]+(reid_ray\.\w+)', path.read_text())}
    assert {"reid_ray.tune", "reid_ray.doctor"} <= found
    for name in found:
        assert (ROOT / f"{name.replace('.', '/')}.py").exists(), name


def studies() -> list[list[str]]:
    """Arguments of each `python -m reid_ray.tune`."""
    return [words[3:] for words in commands("python -m reid_ray.tune")]


def test_every_study_that_is_started_has_a_config_and_settings_that_exist() -> None:
    assert len(studies()) >= 4
    for words in studies():
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        names = [word for word in words if not word.startswith("--") and word not in settings]
        for name in names or ["quickstart"]:
            if name.startswith(("$", "/shared/")) or DRIVERS_OWN.fullmatch(name):
                continue
            study = load(Study, find("tune", name), settings)
            assert study.storage == "/shared/runs" or not settings
            assert study.reports == "/shared/reports" or not settings


def test_settings_that_the_readme_names_exist() -> None:
    named = set(re.findall(r"`(?:--set )?((?:scaling|training|asha)\.\w+)", README.read_text()))
    assert {"scaling.workers", "training.checkpoint_every_s"} <= named
    study = Study.model_fields
    for name in named:
        section, key = name.split(".")
        fields = getattr(study[section].annotation, "model_fields", {})
        assert key in fields, name


def test_doctor_is_called_with_options_that_it_has() -> None:
    (words,) = [each for each in commands("python -m reid_ray.doctor") if len(each) > 3]
    assert doctor.arguments().parse_args(words[3:]).storage == "/shared/runs"


RAY_COMMANDS = ["start", "up", "down", "dashboard", "exec", "get-auth-token", "health-check", "job submit"]


@pytest.mark.parametrize("name", RAY_COMMANDS)
def test_ray_is_called_with_options_that_it_has(name: str) -> None:
    command: click.Command = cli
    for part in name.split():
        assert isinstance(command, click.Group)
        command = command.commands[part]
    options = {option for parameter in command.params for option in parameter.opts}
    calls = commands(f"ray {name}")
    assert calls
    for words in calls:
        own = words[: words.index("--")] if "--" in words else words
        used = {word.partition("=")[0] for word in own if word.startswith("--")}
        assert used <= options, (name, used - options)


def test_every_start_of_ray_is_with_the_token() -> None:
    """Where it is not set beside the command, the file's own test says that the environment sets it."""
    for path in ALL:
        for line in path.read_text().splitlines():
            if re.search(r"ray start --(head|address|block)", line) and path.suffix == ".yaml":
                assert "RAY_AUTH_MODE=token ray start" in line, (path.name, line)
        if path.suffix == ".yaml" and "reid-ray:0.1.0" in path.read_text():
            assert re.search(r"RAY_AUTH_MODE[:=,] ?(value: )?token", path.read_text()), path.name
        assert not re.search(r"RAY_AUTH_MODE\W+(value: )?disabled", path.read_text()), path.name
    assert all(spec["authOptions"]["mode"] == "token" for spec in ray_cluster_specs())
    assert re.search(r"umask 077 && ray get-auth-token --generate", README.read_text())


def test_dashboards_listen_on_loopback_and_only_mlflow_behind_passwords_everywhere() -> None:
    for path in ALL:
        text = path.read_text()
        hosts = re.findall(r"--dashboard-host[= ](\S+?)[`\s]", text)
        assert set(hosts) <= {"127.0.0.1"}, path.name
        everywhere = [line.strip() for line in text.splitlines() if "0.0.0.0" in line]
        allowed = {"- --host=0.0.0.0", "cidr: 0.0.0.0/0"}
        assert set(everywhere) <= allowed, path.name
        if "- --host=0.0.0.0" in everywhere:
            assert "- --app-name=basic-auth" in text
    assert "dashboard-host=127.0.0.1" in COMPOSE[0].read_text()
    for spec in ray_cluster_specs():
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_ray_on_kubernetes_is_the_version_that_the_image_is_built_with() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for spec in ray_cluster_specs():
        minor = spec["rayVersion"].rpartition(".")[0]
        assert f'"ray=={minor}.*"' in project


def test_threads_of_a_worker_fit_its_pod() -> None:
    (job,) = of_kind("RayJob")
    asked = int(re.findall(r"scaling\.cpus_per_worker=(\d+)", job["spec"]["entrypoint"])[0])
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert asked == int(resources["limits"]["cpu"])


def test_shell_of_the_readme_is_well_formed() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) > 8
    for block in blocks:
        ran = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr + block


def test_links_within_the_readme_lead_somewhere() -> None:
    text = README.read_text()
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings


def test_bill_of_the_grid_is_what_its_formula_gives() -> None:
    """Trials x epochs x photos / (photos per second x 3600): grid of the config, rates of the text."""
    text = README.read_text()
    study = load(Study, find("tune", "paper"), [])
    trials = [sum("swin" in trial.backbone for trial in study.trials())]
    trials.append(len(study.trials()) - trials[0])
    rates = [int(re.findall(rf"{name}\s+(\d+) at", text)[0]) for name in ("window7_224", "efficientnet_b3")]
    rows = re.findall(r"^\| ([\d ]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 3
    for photos, *hours in rows:
        work = int(photos.replace(" ", "")) * study.training.epochs / 3600
        expected = [work * count / rate for count, rate in zip(trials, rates, strict=True)]
        assert [float(each) for each in hours] == pytest.approx([*expected, sum(expected)], abs=0.051)
    gpu_hours = float(rows[1][3])
    assert f"{gpu_hours * 0.40 + gpu_hours / 8 * 0.40:.2f}, in {gpu_hours / 8:.1f} hours" in text
