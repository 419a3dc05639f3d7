"""The corruptions one image at a time, as the formulas read: numpy, scipy, Pillow, OpenCV, loops.

`function(image, draw, *setting)` with an image (H, W, 3) uint8 and a numpy generator, from which
the same numbers are drawn in the same order as the package draws them. Nothing of the package is
used, and nothing is fast: tests compare with these functions, benchmarks/corruptions.py times them.
"""

from io import BytesIO
from math import ceil, cos, radians, sin

import cv2
import numpy as np
from matplotlib import colors
from PIL import Image
from scipy import ndimage, stats


def grey_levels(x):
    """Clipped to [0, 1], then truncated."""
    return np.uint8(np.clip(x, 0, 1) * 255)


def blurred(x, sigma):
    """Height and width blurred, channels not."""
    sigmas = (sigma, sigma, 0)[: x.ndim]
    return ndimage.gaussian_filter(x, sigmas, mode="nearest", truncate=4)


def gaussian_noise(image, draw, sd):
    noise = draw.standard_normal((3, *image.shape[:2])).transpose(1, 2, 0)
    return grey_levels(image / 255 + sd * noise)


def speckle_noise(image, draw, sd):
    x = image / 255
    return grey_levels(x + x * sd * draw.standard_normal((3, *image.shape[:2])).transpose(1, 2, 0))


def shot_noise(image, draw, photons):
    chances = draw.random((3, *image.shape[:2])).transpose(1, 2, 0)
    return grey_levels(stats.poisson.ppf(chances, image / 255 * photons) / photons)


def impulse_noise(image, draw, amount):
    hit, salt = draw.random((2, 3, *image.shape[:2])).transpose(0, 2, 3, 1)
    changed = image.copy()
    changed[hit <= amount] = np.where(salt <= 0.5, 255, 0)[hit <= amount]
    return changed


def gaussian_blur(image, _draw, sigma):
    return grey_levels(blurred(image / 255, sigma))


def defocus_blur(image, _draw, radius, rim):
    reach = max(8, int(radius))
    across, down = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    disk = (across**2 + down**2 <= radius**2).astype(np.float32)
    size = (3, 3) if radius <= 8 else (5, 5)
    kernel = cv2.GaussianBlur(disk / disk.sum(), size, rim)
    return grey_levels(np.dstack([cv2.filter2D(image[..., c] / 255, -1, kernel) for c in range(3)]))


def glass_blur(image, draw, sigma, reach, passes):
    height, width = image.shape[:2]
    size = (passes, 2, height - 2 * reach, width - 2 * reach)
    steps = draw.integers(-reach, reach, size, dtype=np.int8).astype(int)
    x = np.uint8(blurred(image / 255, sigma) * 255 + 1e-9)  # or a last bit becomes a level here
    for turn in range(passes):
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                down, right = steps[turn, :, h - reach - 1, w - reach - 1]
                # Both sides are views: this line copies one pixel and swaps nothing.
                x[h, w], x[h + down, w + right] = x[h + down, w + right], x[h, w]
    return grey_levels(blurred(x / 255, sigma))


def trail(image, angle, radius, sigma):
    """ImageMagick's MotionBlur of 8-bit values, truncated to 8 bits."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    rows, columns = np.indices(image.shape[:2])
    total = np.zeros(image.shape)
    for i, weight in enumerate(weights / weights.sum()):
        down = ceil(i * sin(radians(angle)) - 0.5)
        right = ceil(i * cos(radians(angle)) - 0.5)
        there = (rows + down).clip(0, rows.max()), (columns + right).clip(0, columns.max())
        total += weight * image[there]
    return np.uint8(total)


def motion_blur(image, draw, radius, sigma):
    return trail(image, draw.uniform(-45, 45), radius, sigma)


def enlarged(x, factor):
    """The middle of (H, W, ...), enlarged, and the middle of that: the size stays."""
    sides = x.shape[:2]
    kept = [ceil(side / factor) for side in sides]
    top, left = ((side - k) // 2 for side, k in zip(sides, kept))
    factors = (factor, factor, 1)[: x.ndim]
    large = ndimage.zoom(x[top : top + kept[0], left : left + kept[1]], factors, order=1)
    top, left = ((have - side) // 2 for have, side in zip(large.shape, sides))
    return large[top : top + sides[0], left : left + sides[1]]


def zoom_blur(image, _draw, largest, step):
    x = image / 255
    layers = [x, *(enlarged(x, factor) for factor in np.arange(1, largest, step))]
    return grey_levels(np.mean(layers, axis=0) + 1e-9)


def snow(image, draw, mean, sd, zoom, threshold, radius, sigma, kept):
    noise = mean + sd * draw.standard_normal(image.shape[:2])
    flakes = enlarged(noise, zoom)
    flakes[flakes < threshold] = 0
    layer = trail(grey_levels(flakes), draw.uniform(-135, -45), radius, sigma)[..., None] / 255
    x = image / 255
    luma = cv2.cvtColor(x.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None]
    x = kept * x + (1 - kept) * np.maximum(x, 1.5 * luma + 0.5)
    return grey_levels(x + layer + np.rot90(layer, 2))


def frost(image, draw, image_weight, frost_weight, scale, photographs):
    ice = photographs[draw.integers(len(photographs))]
    ice = cv2.resize(ice, (0, 0), fx=scale, fy=scale)
    height, width = image.shape[:2]
    top, left = draw.integers(ice.shape[0] - height), draw.integers(ice.shape[1] - width)
    piece = ice[top : top + height, left : left + width]
    return np.uint8(np.clip(image_weight * image + frost_weight * piece, 0, 255))


def cloud(steps, side, fade):
    """Diamond-square on a torus, one point at a time, from 0 to 1."""
    heights, height, gap, fresh = np.zeros((side, side)), 100.0, side, iter(steps)
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    sides = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    while gap >= 2:
        half = gap // 2
        for (top, left), around in (
            ((half, half), corners),
            ((0, half), sides),
            ((half, 0), sides),
        ):
            for y in range(top, side, gap):
                for x in range(left, side, gap):
                    near = [
                        heights[(y + half * a) % side, (x + half * b) % side] for a, b in around
                    ]
                    heights[y, x] = sum(near) / 4 + height * height * next(fresh)
        height, gap = height / fade, half
    heights -= heights.min()
    return heights / heights.max()


def fog(image, draw, thickness, fade):
    height, width = image.shape[:2]
    side = 2 ** (max(height, width) - 1).bit_length()
    clouds = cloud(draw.uniform(-1, 1, side * side - 1), side, fade)[:height, :width, None]
    x = image / 255
    return grey_levels((x + thickness * clouds) * x.max() / (x.max() + thickness))


def brightness(image, _draw, more):
    hsv = colors.rgb_to_hsv(image / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
    return grey_levels(colors.hsv_to_rgb(hsv))


def saturate(image, _draw, factor, offset):
    hsv = colors.rgb_to_hsv(image / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
    return grey_levels(colors.hsv_to_rgb(hsv))


def contrast(image, _draw, factor):
    x = image / 255
    means = x.mean((0, 1))
    return grey_levels((x - means) * factor + means)


def pixelate(image, _draw, share):
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * share), int(height * share)), Image.BOX)
    return np.asarray(small.resize((width, height), Image.BOX))


def jpeg_compression(image, _draw, quality):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def elastic_transform(image, draw, strength, sigma, tilt):
    height, width = image.shape[:2]
    shifts = draw.uniform(-tilt, tilt, (3, 2))
    noise = draw.integers(-(2**16), 2**16, (2, height, width), dtype=np.int32, endpoint=True)
    middle, half = np.array([width // 2, height // 2]), min(height, width) // 3
    before = np.float32(middle + half * np.array([[1, 1], [1, -1], [-1, -1]]))
    back = cv2.getAffineTransform(np.float32(before + shifts), before)
    rows, columns = np.indices((height, width))
    across, down = (back[i, 0] * columns + back[i, 1] * rows + back[i, 2] for i in (0, 1))
    tilted = read(image / 255, down, across, "mirror")
    if strength:
        down, across = (
            strength * ndimage.gaussian_filter(each / 2**16, sigma, mode="reflect", truncate=3)
            for each in noise
        )
        tilted = read(tilted, rows + down, columns + across, "reflect")
    return grey_levels(tilted + 1e-9)


def read(x, rows, columns, mode):
    """Each channel of (H, W, 3) at these places, linearly."""
    places = np.stack([rows, columns])
    channels = [ndimage.map_coordinates(x[..., c], places, order=1, mode=mode) for c in range(3)]
    return np.dstack(channels)


def caustics(levels):
    """The light through liquid (H, W) uint8, by OpenCV."""
    edges = cv2.Canny(levels, 50, 150)
    far = np.minimum(cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5), 20)
    far = cv2.equalizeHist(cv2.blur(far, (3, 3)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    return cv2.blur(cv2.filter2D(far, cv2.CV_8U, emboss), (3, 3))


def spatter(image, draw, mean, sd, sigma, threshold, strength, muddy):
    x = image / 255
    liquid = blurred(draw.normal(mean, sd, image.shape[:2]), sigma)
    liquid[liquid < threshold] = 0
    if muddy:
        cover = blurred((liquid > threshold).astype(float), strength)[..., None]
        cover[cover < 0.8] = 0
        return grey_levels(x * (1 - cover) + cover * np.array([63, 42, 20]) / 255)
    levels = np.uint8(liquid * 255)
    light = levels.astype(float) * caustics(levels)
    share = strength * light[..., None] / light.max()
    return grey_levels(x + share * np.array([175, 238, 238]) / 255)
