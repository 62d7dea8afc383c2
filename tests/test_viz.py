"""Pictures say what the numbers say, in colours that everybody can tell apart."""

import base64
import io
import itertools
import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch

from surm_lite import Toeplitz, viz

MEANINGS = ("matrix", "displacement", "parameters", "error")


def decoded(fragment: viz.Fragment) -> np.ndarray:
    """RGBA pixels of a heat map, read by an independent decoder."""
    from PIL import Image

    data = base64.b64decode(re.search(r"base64,([^\"]+)", fragment.html).group(1))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 4), (240, 240), (300, 2)])
def test_heat_map_decodes_to_the_matrix(shape, rng):
    M = torch.randn(shape, generator=rng, dtype=torch.float64)
    pixels = decoded(viz.heat(M, "noise"))
    k = pixels.shape[0] // shape[0]
    assert pixels.shape == (k * shape[0], k * shape[1], 4)
    one_per_entry = pixels[k // 2 :: k, k // 2 :: k].astype(float)
    house = np.array(list(bytes.fromhex(viz.COLOURS["matrix"][1:])))
    magnitude = one_per_entry[..., 3] / 255
    sign = np.where(np.abs(one_per_entry[..., :3] - house).max(-1) == 0, 1, -1)
    np.testing.assert_allclose(sign * magnitude, M / M.abs().max(), atol=0.5 / 31 + 1e-2)
    assert (pixels[::k, ::k] == pixels[k - 1 :: k, k - 1 :: k]).all(), "an entry is one flat square"


def test_heat_map_of_zero_is_empty_and_rounding_noise_is_not_blown_up():
    assert decoded(viz.heat(torch.zeros(4, 4), "zero"))[..., 3].max() == 0
    assert decoded(viz.heat(torch.full((4, 4), 1e-15), "noise"))[..., 3].max() == 0


def test_one_scale_makes_two_heat_maps_comparable():
    half = decoded(viz.heat(torch.full((2, 2), 0.5), "half", scale=1.0))
    assert abs(int(half[0, 0, 3]) - 128) <= 5
    assert decoded(viz.heat(torch.full((2, 2), 9.0), "clipped", scale=1.0))[0, 0, 3] == 255


def test_heat_takes_operators_and_trained_tensors():
    column = torch.arange(3.0, requires_grad=True)
    operator = Toeplitz(column, torch.arange(3.0))
    assert viz.heat(operator, "T").html == viz.heat(operator.to_dense().detach().numpy(), "T").html


@pytest.mark.parametrize(
    ("matrix", "error", "says"),
    [
        (torch.zeros(3), ValueError, r"matrix has shape \(3,\)"),
        (torch.zeros(0, 3), ValueError, r"matrix has shape \(0, 3\)"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "must be real"),
        (torch.tensor([[float("nan")]]), ValueError, "nan or infinity"),
    ],
)
def test_heat_refuses_what_it_cannot_draw(matrix, error, says):
    with pytest.raises(error, match=says):
        viz.heat(matrix, "x")


def test_bad_options_are_named(own_errors):
    with pytest.raises(ValueError, match="scale is 0"):
        viz.heat(torch.eye(2), "x", scale=0)
    with pytest.raises(ValueError, match="meaning is 'blue'"):
        viz.heat(torch.eye(2), "x", meaning="blue")
    with pytest.raises(ValueError, match="must be one of dense, "):
        viz.family_style("toeplits")


def test_text_is_escaped():
    shown = viz.row(viz.heat(torch.eye(2), '"><script>', caption="<b>"), viz.readout(a="<i>"), viz.note("<u>"))
    assert not re.search(r"<(script|b|i|u)>", shown.html)


def test_numbers_are_read_as_a_person_reads_them():
    assert [viz.number(x) for x in (0, 0.0, 1e6, 2.5e-7, -1e-13, 1234567, "n/a", torch.tensor(3), np.float32(0.5))] == [
        "0", "0", "1e+06", "2.5e-07", "below 1e-12", "1,234,567", "n/a", "3", "0.5",
    ]  # fmt: skip


def test_a_figure_is_the_same_bytes_every_time_and_follows_the_page():
    def draw() -> str:
        figure, axes = viz.subplots()
        axes.plot([0, 1], [0, 1], color=viz.COLOURS["error"], label="$\\sigma$")
        axes.legend()
        return viz.mpl(figure, "a <line>").html

    svg = draw()
    assert svg == draw()
    assert 'aria-label="a &lt;line&gt;"' in svg
    assert "var(--surm-error, #86206f)" in svg
    assert "currentColor" in svg
    bare = re.sub(r"var\(--surm-\w+, #\w+\)", "", svg)
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", bare), "a colour that dark mode cannot change"
    assert not re.findall(r"<style|<script|<!--|\d{4}-\d\d-\d\d", svg)


def test_two_figures_on_a_page_share_no_id():
    ids = []
    for height in (1, 2):
        figure, axes = viz.subplots()
        axes.plot([0, height])
        ids.append(set(re.findall(r'\bid="([^"]+)"', viz.mpl(figure, "x").html)))
    assert ids[0]
    assert not ids[0] & ids[1]


def test_a_numbered_figure_says_its_name_and_caption():
    shown = viz.mpl(viz.subplots()[0], "x", name="fig-a", caption="Less < more.").html
    assert 'data-name="fig-a"' in shown
    assert shown.endswith("<figcaption>Less &lt; more.</figcaption></figure>")
    with pytest.raises(ValueError, match="name is 'fig-a' and caption is None"):
        viz.mpl(viz.subplots()[0], "x", name="fig-a")


def test_a_picture_twice_in_one_figure_leaves_no_id_twice():
    figure, axes = viz.subplots(1, 2)
    for ax in axes:
        ax.imshow(np.eye(3))
    ids = re.findall(r'\bid="([^"]+)"', viz.mpl(figure, "x").html)
    assert len(ids) == len(set(ids))
    assert ids, "what is referred to keeps its name"


@pytest.mark.parametrize(("points", "least"), [(9.0, 375), (4.5, 500), (12.0, 282)])
def test_a_figure_shrinks_until_its_smallest_label_is_nine_pixels_high(points, least):
    """500 px wide, 9 points are 12 px: three quarters of it are enough; 4.5 points are 6 px and must not shrink."""
    figure, axes = viz.subplots(size=(500 / 96, 3.0))
    axes.tick_params(labelsize=points)
    axes.set_xlabel("$x_2$", fontsize=20)
    assert f"max-width:500px;min-width:{least}px;" in viz.mpl(figure, "x").html


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    viz.mpl(viz.subplots(1, 2)[0], "empty")
    assert dict(matplotlib.rcParams) == before


def test_importing_pictures_loads_no_drawing_library():
    code = "import sys, surm_lite.viz, surm_lite.explore; print({'matplotlib', 'ipywidgets'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def palettes() -> dict[str, dict[str, str]]:
    css = (files("surm_lite") / "_static" / "explore.css").read_text()
    light, dark = (dict(re.findall(r"--surm-(\w+): (#\w+)", block)) for block in css.split("}")[:2])
    return {"light": light, "dark": dark}


def test_css_and_python_agree_on_the_palette():
    palette = palettes()
    named = {name: colour for name, colour in viz.COLOURS.items() if name != "ink"}
    assert {name: palette["light"][name] for name in named} == named
    assert set(palette["light"]) == set(palette["dark"])


def linear(colour: str) -> np.ndarray:
    srgb = np.array(list(bytes.fromhex(colour[1:]))) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear sRGB (white D65)."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb.clip(0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes (2009), severity 1.
SEEN_BY = {
    "full vision": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_four_meanings_and_grey_are_told_apart(eye, mode):
    colours = palettes()[mode]
    seen = {name: lab(np.array(SEEN_BY[eye]) @ linear(colours[name])) for name in (*MEANINGS, "negative")}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(seen, 2)}
    assert min(distances.values()) > 20, min(distances.items(), key=lambda item: item[1])


def test_colours_are_readable_as_text():
    for name in {*viz.COLOURS} - {"rule", "negative"}:
        luminance = linear(viz.COLOURS[name]) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 4.5, name
