"""Captions on the command line: take, plan, train, sample; and wrong input."""

import json

import pytest
from PIL import Image

pytest.importorskip("diffusers")
pytest.importorskip("transformers")
models = pytest.importorskip("tests.diffusion.borrowed_models")
texts = pytest.importorskip("tests.diffusion.text_models")


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A network, an encoder, and a folder of pictures with captions."""
    base = tmp_path_factory.mktemp("text")
    models.saved(base / "unet", "reader")
    texts.saved(base / "encoder")
    (base / "scans").mkdir()
    lines = ["file,caption,patient"]
    for number in range(24):
        pair = texts.SHADES[number % 2], texts.SHAPES[number // 2 % 3]
        pixels = ((texts.drawn(*pair, side=4)[0] + 1) * 127.5).byte().numpy()
        Image.fromarray(pixels).save(base / "scans" / f"{number}.png")
        lines.append(f'{number}.png,"{texts.caption(*pair)}, SECRET{number}",p{number}')
    (base / "scans" / "labels.csv").write_text("\n".join(lines) + "\n")
    return base


@pytest.fixture(scope="module")
def begin(there):
    from cli.__main__ import main

    out = there / "begin"
    assert main(
        ["pretrain", "--from-diffusers", str(there / "unet"), "--text-encoder",
         str(there / "encoder"), "--declared-by", "the office", "--trained-on", "noise",
         "--text-trained-on", "written captions", "--out", str(out)]
    ) == 0  # fmt: skip
    return out


def plan_with(begin, there, path):
    return ["plan", "--eps", 3, "--data", there / "scans", "--caption-column",
            "caption", "--from", begin, "--steps", 2, "--out", path]  # fmt: skip


def test_captions_go_from_a_column_to_images_for_a_prompt(
    cli, begin, there, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path, out = tmp_path / "plan.json", tmp_path / "run"
    code, said, _ = cli(*plan_with(begin, there, path))
    assert code == 0
    assert "captions from 'caption', 8 tokens read by encoder" in " ".join(said.split())
    plan = json.loads(path.read_text())
    assert plan["training"]["text"]["lineage"][0]["data_name"] == "written captions"
    code, *voices = cli("train", path, "--data", there / "scans", "--from", begin,
                        "--out", out)  # fmt: skip
    assert code == 0
    code, said, talk = cli("sample", out, "--prompt", "a dark disc", "--prompt", "",
                           "--count", 5, "--steps", 2, "--json")  # fmt: skip
    assert code == 0
    held = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(b"SECRET" in content for content in held)
    assert not any("SECRET" in text for text in (*voices, said, talk))
    from diffusion.data import describe

    assert describe(str(out / "samples" / "samples.npz")).classes == 2
    code, _, message = cli("evaluate", out, "--data", there / "scans")
    assert (code, "trained on captions" in message) == (2, True)
    code, _, message = cli("sample", out, "--count", 2)
    assert (code, "none was given" in message) == (2, True)


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [({"--caption-column": "title"}, 1, "no column 'title'"),
     ({"--caption-column": None}, 1, "lacks the column 'file' or 'label'"),
     ({"--data": None}, 2, "embedded digits have no columns"),
     ({"--classes": "2"}, 2, "both given"),
     ({"--from": None}, 2, "nothing reads them"),
     ({"--query": "labels:50"}, 2, "asks for classes"),
     ({"--pretrain": "synthetic"}, 2, "have no captions")],
    ids=str,
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(
    refused, begin, there, tmp_path, changed, code, said
):
    line = plan_with(begin, there, tmp_path / "plan.json")
    for option, value in changed.items():
        if option in line:
            place = line.index(option)
            line = line[:place] + line[place + 2 :]
        if value is not None:
            line += [option, value]
    found, message = refused(*line)
    assert (found, said in message) == (code, True), message
    assert "SECRET" not in message
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [(["--text-encoder", "{there}/encoder"], 2, "goes with a network that reads"),
     (["--from-diffusers", "{there}/unet", "--text-encoder", "nowhere",
       "--declared-by", "me"], 1, "has no config.json"),
     (["--from-diffusers", "{there}/unet", "--text-encoder", "{there}/encoder"], 5,
      "nobody declares"),
     (["--from-diffusers", "{there}/unet", "--text-encoder", "{there}/encoder",
       "--declared-by", "me", "--classes", "3"], 2, "captions in their place")],
    ids=lambda x: str(x)[-30:],
)  # fmt: skip
def test_an_encoder_that_cannot_be_taken_is_refused(
    refused, there, tmp_path, options, code, said
):
    filled = [one.format(there=there) for one in options]
    found, message = refused("pretrain", *filled, "--out", tmp_path / "out")
    assert (found, said in message) == (code, True), message
    assert not (tmp_path / "out").exists()
