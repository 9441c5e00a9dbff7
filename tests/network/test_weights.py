"""Where parameters come from: read with care, refused with a reason, never silently random."""

import hashlib
import pickle
import urllib.error

import pytest
import safetensors.torch
import torch

from mammo.errors import UserError
from mammo.network.backbones import find_architecture
from mammo.network.foreign_names import match_names
from mammo.network.params import BackboneParams
from mammo.network.weights import (
    adopt,
    body,
    fit_to,
    imagenet_file,
    load_backbone,
    provenance,
    random_network,
    read_weights_file,
    save_backbone,
)
from mammo.params import parse_params

ARCHITECTURE = find_architecture("mobilenet_v2")


def backbone(weights="random", file=None, seed=0, arch="mobilenet_v2"):
    return BackboneParams(arch=arch, weights=weights, file=file, seed=seed)


@pytest.fixture(scope="module")
def state():
    return random_network(backbone()).state_dict()


def test_random_weights_depend_on_the_seed_alone(state):
    torch.rand(5)  # the global generator is of no account
    again = random_network(backbone()).state_dict()
    other = random_network(backbone(seed=1)).state_dict()
    assert all(torch.equal(state[k], again[k]) for k in state)
    assert not torch.equal(state["features.0.0.weight"], other["features.0.0.weight"])


def test_stored_weights_are_the_bytes_again_and_load_into_the_network(state, tmp_path):
    sha256 = save_backbone(body(state, ARCHITECTURE), tmp_path / "a.safetensors")
    assert save_backbone(body(state, ARCHITECTURE), tmp_path / "b.safetensors") == sha256
    assert hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest() == sha256
    loaded = load_backbone(tmp_path / "a.safetensors", ARCHITECTURE).state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in body(state, ARCHITECTURE).items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_with_or_without_classifier_fits(state, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(body(state, ARCHITECTURE), path)
    fitted = fit_to(ARCHITECTURE, read_weights_file(path), str(path))
    assert all(torch.equal(fitted[k], v) for k, v in body(state, ARCHITECTURE).items())


def test_only_the_batch_counters_of_old_files_are_filled_in(state):
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    fit_to(ARCHITECTURE, old, "old.pth")
    old.pop("features.0.0.weight")
    with pytest.raises(UserError, match=r"old.pth: .*features.0.0.weight is missing"):
        fit_to(ARCHITECTURE, old, "old.pth")


def test_unknown_and_misshapen_tensors_are_named(state):
    with pytest.raises(UserError, match=r"extra\.weight is unknown"):
        fit_to(ARCHITECTURE, {**state, "extra.weight": torch.zeros(1)}, "x.pth")
    with pytest.raises(UserError, match=r"features.0.0.weight has shape \(1,\), needs \(32, 3"):
        fit_to(ARCHITECTURE, {**state, "features.0.0.weight": torch.zeros(1)}, "x.pth")


def dressed(state, *prefixes):
    return {".".join([*prefixes, key]): value for key, value in state.items()}


@pytest.mark.parametrize(
    "prefixes",
    [[], ["module"], ["backbone"], ["encoder"], ["model"], ["module", "model", "backbone"]],
)
def test_wrappers_prefixes_are_taken_off_a_foreign_file(state, caplog, prefixes):
    caplog.set_level("INFO")
    foreign = {**dressed(state, *prefixes), "projector.0.weight": torch.ones(2, 2)}
    adopted = adopt(ARCHITECTURE, foreign, "theirs.pth")
    assert all(torch.equal(adopted[k], v) for k, v in body(state, ARCHITECTURE).items())
    dropped = [".".join([*prefixes, f"classifier.1.{kind}"]) for kind in ("weight", "bias")]
    assert f"dropped: {', '.join(dropped)}, projector.0.weight" in caplog.text
    mapped = [line for line in caplog.messages if "mapped" in line]
    expected = f"{len(body(state, ARCHITECTURE))} names mapped: {'.'.join([*prefixes, '*'])} to *"
    assert mapped == ([f"theirs.pth: {expected}"] if prefixes else [])


@pytest.mark.slow
def test_the_layout_of_radimagenet_is_understood(caplog):
    caplog.set_level("INFO")
    architecture = find_architecture("resnet50")
    network = architecture.build()
    numbered = torch.nn.Sequential(*list(network.children())[:9])  # without the classifier
    adopted = adopt(architecture, dressed(numbered.state_dict(), "backbone"), "ResNet50.pt")
    assert "backbone.4.0.conv1.weight" in dressed(numbered.state_dict(), "backbone")
    for said in ("backbone.0.* to conv1.*", "backbone.4.* to layer1.*", "backbone.7.* to layer4.*"):
        assert said in caplog.text
    assert all(
        torch.equal(adopted[k], v) for k, v in body(network.state_dict(), architecture).items()
    )


def test_a_prefix_that_is_also_a_part_of_the_network_stays():
    architecture = find_architecture("vit_b_16")  # its own names begin with "encoder."
    names = list(body(architecture.without_values().state_dict(), architecture))
    meant, dropped = match_names([f"model.{n}" for n in names], names, [], "vit.pth")
    assert list(meant.values()) == names and not dropped


def test_two_networks_in_one_file_are_refused(state):
    with pytest.raises(UserError, match=r"one network, got model\.\S+ and module\.\S+, which"):
        adopt(ARCHITECTURE, {**dressed(state, "model"), **dressed(state, "module")}, "two.pth")


def test_a_missing_tensor_of_the_backbone_is_refused_and_a_classifiers_ignored(state):
    foreign = dressed(body(state, ARCHITECTURE), "module")
    adopt(ARCHITECTURE, foreign, "theirs.pth")
    foreign.pop("module.features.1.conv.0.0.weight")
    with pytest.raises(
        UserError, match=r"theirs\.pth: .*features\.1\.conv\.0\.0\.weight is missing"
    ):
        adopt(ARCHITECTURE, foreign, "theirs.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(state, value):
    broken = {**state, "features.0.0.weight": torch.full((32, 3, 3, 3), value)}
    with pytest.raises(UserError, match=r"features\.0\.0\.weight has values that aren't finite"):
        adopt(ARCHITECTURE, broken, "broken.pth")


def test_a_state_dict_beside_an_epoch_is_found(state, tmp_path):
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "trainer.pth")
    assert set(read_weights_file(tmp_path / "trainer.pth")) == set(state)


class Dangerous:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("no.pth", None, "must be an existing file"),
        ("odd.bin", b"x", "must end in"),
        ("broken.safetensors", b"\x00" * 40, "not a readable weights file"),
        ("broken.pth", b"\x00" * 40, "weights_only=True|not a readable"),
        ("code.pth", pickle.dumps(Dangerous()), "weights_only=True|not a readable"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path, capsys, name, content, complaint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        read_weights_file(path)
    assert "never run" not in capsys.readouterr().out


def test_a_pth_that_holds_code_is_refused(tmp_path, capsys):
    torch.save({"weight": Dangerous()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="holds more than tensors"):
        read_weights_file(tmp_path / "code.pth")
    assert "never run" not in capsys.readouterr().out


def test_imagenet_without_network_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError) as raised:
        imagenet_file(ARCHITECTURE)
    text = str(raised.value)
    assert "mobilenet_v2-7ebf99e0.pth" in text  # torchvision's IMAGENET1K_V2
    assert str(tmp_path / "checkpoints") in text
    assert "https://" in text


def test_an_imagenet_file_with_another_sha256_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "mobilenet_v2-7ebf99e0.pth"
    file.write_bytes(b"something else")
    with pytest.raises(UserError, match="SHA-256 must begin with 7ebf99e0"):
        imagenet_file(ARCHITECTURE)


def test_an_imagenet_file_in_place_needs_no_network(state, tmp_path, monkeypatch):
    torch.save(state, tmp_path / "made.pth")
    sha256 = hashlib.sha256((tmp_path / "made.pth").read_bytes()).hexdigest()
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / f"mobilenet_v2-{sha256[:8]}.pth"
    (tmp_path / "made.pth").rename(file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    class Enum:
        url = f"https://example.org/{file.name}"

    made = ARCHITECTURE.__class__(**{**vars(ARCHITECTURE), "imagenet": Enum})
    assert imagenet_file(made) == file
    fit_to(made, read_weights_file(file), file.name)


def test_provenance_says_where_weights_come_from(tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"abc")
    facts = provenance(backbone("file", tmp_path / "mine.safetensors"), "f" * 64)
    assert facts["source"] == "mine.safetensors"
    assert facts["source_sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert "mobilenet_v2" in provenance(backbone("imagenet"), "f" * 64)["url"]


def test_a_file_is_named_if_and_only_if_it_is_asked_for(tmp_path):
    values = backbone().model_dump()
    for change in ({"weights": "file"}, {"file": str(tmp_path)}):
        with pytest.raises(UserError, match="file must name a weights file"):
            parse_params("backbone", {**values, **change}, BackboneParams)


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_imagenet_file_fits_and_is_not_the_random_one(shared):
    path = shared / "weights" / "mobilenet_v2-imagenet.safetensors"
    network = load_backbone(path, ARCHITECTURE).eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        trained = network.features(x)
        untrained = random_network(backbone()).eval().features(x)
    assert not torch.allclose(trained, untrained)


@pytest.mark.parametrize("wrapped", [False, True])
def test_tensors_under_numbers_are_no_state_dict(tmp_path, wrapped):
    state = {1: torch.zeros(2)}
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "numbered.pth")
    with pytest.raises(
        UserError, match=r"numbered\.pth: must hold a state dict \(names and tensors"
    ):
        read_weights_file(tmp_path / "numbered.pth")
