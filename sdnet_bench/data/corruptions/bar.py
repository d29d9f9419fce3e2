"""The corruptions of CIFAR-10-C-bar and ImageNet-C-bar (Mintun, Kirillov & Xie, 2021).

They were chosen for being unlike those of the -C benchmarks. A level is a strength from 0 to 10, with the meanings of
the published scripts; a side is the shorter one of the image.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pixels import Pixels, written

GREY = 128 / 255
TURN = 2 * np.pi


def points(shape: tuple[int, ...]) -> Pixels:
    """Row and column of every pixel, `(2, H, W)`."""
    return np.indices(shape[-2:]).astype(np.float64)


def blue_noise_sample(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Black where noise whose amplitudes grow with frequency is at most 0.3 strength - 2.5 standard deviations."""
    (noise,) = coloured_noise((1, *pixels.shape[-2:]), lambda frequency: frequency, rng)
    spotted: Pixels = pixels * (noise > 0.3 * strength - 2.5)
    return spotted


def brownish_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Adds noise with amplitudes 1 / (frequency^2 + 1) and a standard deviation of 6.4 strength grey levels."""
    return pixels + 6.4 / 255 * strength * coloured_noise(pixels.shape, lambda frequency: 1 / (frequency**2 + 1), rng)


def coloured_noise(shape: tuple[int, ...], amplitude: Callable[[Pixels], Pixels], rng: np.random.Generator) -> Pixels:
    """Noise `(C, H, W)` with random phases and the given amplitudes by frequency, in cycles per image.

    The standard deviation of each channel is 1. As in the published scripts, places that mirror each other in the
    middle of the spectrum share a phase; they are one off from opposite frequencies.
    """
    channels, height, width = shape
    frequency = np.hypot(np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2)
    half = rng.uniform(0, TURN, (channels, (height * width + 1) // 2))
    phases = np.concatenate([half, half[:, ::-1][:, height * width % 2 :]], 1).reshape(shape)
    spectrum = np.fft.ifftshift(amplitude(frequency) * np.exp(1j * phases), axes=(1, 2))
    noise: Pixels = np.fft.ifft2(spectrum).real
    noise /= noise.std((1, 2), keepdims=True)
    return noise


def checkerboard_cutout(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Grey on a share strength / 10 of the dark squares of a turned checkerboard, 0.1 to 0.25 sides each."""
    side = min(pixels.shape[-2:])
    angle, square = rng.uniform(0, TURN), max(side * rng.uniform(0.1, 0.25), 1)
    y, x = points(pixels.shape)
    turned = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    down, right = np.floor(np.stack(turned) / square).astype(np.intp)
    count = int(4 * side / square)
    is_lost = rng.random((count, count)) < strength / 10
    return np.where(((down + right) % 2 == 0) & is_lost[down % count, right % count], GREY, pixels)


def inverse_sparkles(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """White outside of a star of radius side / 4 near the middle; the edge is sharper at a higher strength."""
    side = min(pixels.shape[-2:])
    centre = rng.uniform(0.25, 0.75, 2) * pixels.shape[-2:]
    glow = star(pixels.shape, centre, side / 4, 0.13 * strength, 0, rng)
    return glow * pixels + (1 - glow)


def sparkles(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Five white stars anywhere, of radius strength / 100 sides."""
    radius = 0.01 * strength * min(pixels.shape[-2:])
    for _ in range(5):
        glow = star(pixels.shape, rng.uniform(0, pixels.shape[-2:]), radius, 1, 1, rng)
        pixels = (1 - glow) * pixels + glow
    return pixels


def star(
    shape: tuple[int, ...], centre: Pixels, radius: float, decay: float, shortest: float, rng: np.random.Generator
) -> Pixels:
    """Brightness `(H, W)` in [0, 1] of a star of 50 to 199 rays, outside of them (length / distance)^(2 decay).

    Lengths of rays are normal about `radius`, with a standard deviation of a quarter of it, but not below `shortest`;
    all in pixels. Between two rays the length is interpolated.
    """
    count = rng.integers(50, 200)
    lengths = np.maximum(rng.normal(radius, radius / 4, count), shortest)
    down, right = points(shape) - centre[:, None, None]
    ray = (np.arctan2(right, down) / TURN + 0.5) * count
    length = np.interp(ray, np.arange(count + 1), [*lengths, lengths[0]])
    fall = (length**2 / (down**2 + right**2 + 1e-4)) ** decay
    glow: Pixels = np.clip((1 - (ray % 1 - 0.5) ** 2) * fall, 0, 1)
    return glow


def lines(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Grey lines of one pixel, two sides long, strength / 10 per pixel of a side, about one direction."""
    side = min(pixels.shape[-2:])
    direction, spread = rng.uniform(0, TURN), rng.uniform(0.1, 1)
    for _ in range(int(strength * side / 10)):
        middle, angle = rng.uniform(0, pixels.shape[-2:]), direction + TURN * spread * rng.uniform(-0.5, 0.5)
        reach = side * np.array([np.cos(angle), np.sin(angle)])
        cover = stroke(pixels.shape, np.trunc(middle - reach), np.trunc(middle + reach))
        pixels = (1 - cover) * pixels + cover * GREY
    return pixels


def stroke(shape: tuple[int, ...], start: Pixels, end: Pixels) -> Pixels:
    """`(H, W)`: 1 on the line between two points, 0 at a distance of one pixel, linear in between."""
    down, right = points(shape) - start[:, None, None]
    along, across = end - start
    share = np.clip((down * along + right * across) / max(along**2 + across**2, 1), 0, 1)
    cover: Pixels = np.clip(1 - np.hypot(down - share * along, right - share * across), 0, 1)
    return cover


def pinch_and_twirl(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """In each disc of a grid of 3 x 3, widens the middle and turns it by strength pi / 20 either way."""
    cell = max(min(pixels.shape[-2:]) // 3, 1)
    grid = points(pixels.shape)
    row, column = (grid // cell).astype(np.intp)
    centre = grid // cell * cell + cell / 2
    down, right = grid - centre
    share = np.hypot(down, right) / (cell / 2)
    share = np.where((share > 0) & (share < 1) & (row < 3) & (column < 3), share, 1)
    turns = rng.choice([-1, 1], (3, 3))[np.minimum(row, 2), np.minimum(column, 2)]
    angle = turns * np.pi / 20 * strength * (1 - share) ** 2
    stretch = np.sin(np.pi / 2 * share) ** -(0.04 * strength + 0.1)
    turned = down * np.cos(angle) - right * np.sin(angle), down * np.sin(angle) + right * np.cos(angle)
    return sample(pixels, centre + stretch * np.stack(turned))


def ripple(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Moves pixels by sine waves of strength / 400 sides along each axis, with wavelengths of 0.1 to 0.3 sides."""
    side = min(pixels.shape[-2:])
    wavelengths, phases = side * rng.uniform(0.1, 0.3, (2, 1, 1)), rng.uniform(0, TURN, (2, 1, 1))
    grid = points(pixels.shape)
    return sample(pixels, grid + 0.0025 * strength * side * np.sin(TURN * grid / wavelengths + phases))


def sample(pixels: Pixels, at: Pixels) -> Pixels:
    """The channels at the points `(2, H, W)`, row and column in pixels: bilinear, black outside.

    Flat areas keep their value exactly, because its last bit decides the grey level.
    """
    height, width = pixels.shape[-2:]
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    down, right = np.clip(at[0] + 1, 0, height + 1), np.clip(at[1] + 1, 0, width + 1)
    top = np.minimum(np.floor(down).astype(np.intp), height)
    left = np.minimum(np.floor(right).astype(np.intp), width)
    above, below = (mixed(padded[:, row, left], padded[:, row, left + 1], right - left) for row in (top, top + 1))
    return mixed(above, below, down - top)


def mixed(one: Pixels, other: Pixels, share: Pixels) -> Pixels:
    """Linear interpolation; exact where both are the same."""
    return one + share * (other - one)


def circular_motion_blur(pixels: Pixels, strength: float, _: np.random.Generator) -> Pixels:
    """Mean of 21 rotations by up to 1.5 strength degrees either way, black outside, with Gaussian weights."""
    from scipy import ndimage

    turns = np.linspace(-1, 1, 21)
    weights = np.exp(-2 * turns**2)
    blurred = np.zeros_like(pixels)
    for weight, turn in zip(weights / weights.sum(), turns, strict=True):
        blurred += weight * ndimage.rotate(pixels, 1.5 * strength * turn, axes=(-2, -1), reshape=False)
    return written(blurred)


def transverse_chromatic_abberation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Magnifies the channels, in a random order, by 1, 1 + strength / 40 and 1 + strength / 20; they blur a little."""
    from scipy import ndimage

    height, width = pixels.shape[-2:]
    scaled = []
    for channel, scale in zip(pixels, rng.permutation(1 + strength * np.array([0, 0.025, 0.05])), strict=True):
        zoomed = ndimage.zoom(channel, scale, prefilter=False)
        top, left = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
        scaled.append(zoomed[top : top + height, left : left + width])
    levels: Pixels = np.rint(np.stack(scaled) * 255)
    return levels / 255


def single_frequency_greyscale(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Adds one plane wave of any frequency, of 19.6 strength grey levels."""
    most = rng.uniform(-np.pi, np.pi)
    down, right = rng.permutation([most, rng.uniform(-abs(most), abs(most))])
    y, x = points(pixels.shape)
    wave: Pixels = np.sin(down * y + right * x + rng.uniform(0, TURN))
    return pixels + 19.6 / 255 * strength * wave


def cocentric_sine_waves(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Adds rings about a point, ramps of 12.8 strength grey levels, at most side / 10 wide and as wavy."""
    most = min(pixels.shape[-2:]) / 10
    down, right = points(pixels.shape) - rng.uniform(0, pixels.shape[-2:])[:, None, None]
    waves, amplitude, width = rng.uniform(0, 10), rng.uniform(0, most), rng.uniform(0, most)
    distance = np.hypot(down, right) + amplitude * np.sin(waves * np.arctan2(right, down))
    rings: Pixels = distance / width % 1 - 0.5
    return pixels + 12.8 / 255 * strength * rings


def plasma_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Mixes in coloured swirls, with a weight of 6.4 strength / 255: sines of points that were bent 4 to 6 times."""
    side, time = min(pixels.shape[-2:]), rng.uniform(0, 3 * TURN)
    times, smoothness = rng.integers(4, 7), rng.uniform(1.25, 1.75)
    y, x = points(pixels.shape) / (side * rng.uniform(0.075, 0.2))
    for step in range(times):
        right = np.cos(y * 1.93**step + time / 1.15**step) / smoothness**step
        down = np.sin(x * 1.93**step + time / 1.15**step) / smoothness**step
        x, y = x + right - 0.3 * down, y + down + 0.3 * right
    swirls = np.stack([np.sin(x - time), np.sin((x + y + np.sin(time)) / 2), np.sin(y + time)])
    weight = 6.4 / 255 * strength
    return (1 - weight) * pixels + weight * swirls


def perlin_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Mixes in a grey cloud of five octaves of `gradient_noise`, with a weight of strength / 20."""
    grid = points(pixels.shape) * (7 / min(pixels.shape[-2:]))
    turbulence = sum(np.abs(gradient_noise(octave * grid, rng)) / octave for octave in (1, 2, 4, 8, 16))
    weight = 0.05 * strength
    return (1 - weight) * pixels + weight * np.clip(0.5 + 0.5 * turbulence, 0, 1)


def gradient_noise(at: Pixels, rng: np.random.Generator) -> Pixels:
    """Perlin's noise at points `(2, H, W)` >= 0, times 1.5: random slopes at whole points, eased in between."""
    corner = np.floor(at).astype(np.intp)
    inner = at - corner
    slopes = rng.uniform(-1, 1, (2, *corner.max((1, 2)) + 2))
    slopes /= np.hypot(*slopes)

    def height(down: int, right: int) -> Pixels:
        along, across = slopes[:, corner[0] + down, corner[1] + right]
        found: Pixels = along * (inner[0] - down) + across * (inner[1] - right)
        return found

    down, right = inner**2 * (3 - 2 * inner)
    return 1.5 * mixed(mixed(height(0, 0), height(0, 1), right), mixed(height(1, 0), height(1, 1), right), down)


def caustic_refraction(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """The image through water, whose relief is the light of `caustics`: refracted and lit by the slopes.

    The refractive index is 4, the depth strength / 20 sides; slopes below 2.6 degrees do not refract.
    """
    from scipy import ndimage

    side, grid = min(pixels.shape[-2:]), points(pixels.shape)
    light = ndimage.gaussian_filter(caustics(grid / (side * rng.uniform(0.75, 1.25)), rng.uniform(0.5, 2)), 1)
    padded = np.pad(light, 1)
    down, right = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    slope = np.hypot(down, right)
    angle = np.arctan(slope)
    bend = np.where(np.cos(angle) < 0.999, np.sin(angle - np.arcsin(np.sin(angle) / 4)), 0)
    shift = 0.05 * strength * side * bend / np.where(slope > 0, slope, 1)
    lit: Pixels = sample(pixels, grid + shift * np.stack([down, right])) + 0.2 * strength * (down - right)
    return lit


def caustics(at: Pixels, time: float) -> Pixels:
    """`(H, W)` in [0, 1]: a net of light as on the floor of a pool, with period 1, at points `(2, H, W)`."""
    start = at % 1 * TURN - 250
    y, x = start
    light = np.ones_like(y)
    for step in range(1, 6):
        t = time * (1 - 3.5 / step)
        y, x = start + np.stack([np.cos(t - y) + np.sin(t + x), np.sin(t - x) + np.cos(t + y)])
        light += 200 / np.hypot(start[0] / np.sin(y + t), start[1] / np.cos(x + t))
    net: Pixels = np.clip(np.abs(1.17 - (light / 5) ** 1.4) ** 8, 0, 1)
    return net
