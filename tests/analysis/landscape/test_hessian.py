import copy
import gc
import warnings
import weakref
from unittest.mock import patch

import numpy as np
import pyhessian
import pytest
import scipy.linalg
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.nn import functional as F

from catchup_eval.analysis.landscape import hessian
from catchup_eval.analysis.landscape.hessian import HessianProduct
from catchup_eval.core.errors import Missing
from catchup_eval.core.rng import fork_global_rng, generator, torch_generator


class TinyNet(nn.Module):
    """Smooth, with a batch norm, a dropout and a layer that the loss does not reach."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.unused = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.tanh(self.norm(self.conv(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def case():
    draw = torch.Generator().manual_seed(3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = TinyNet().double()
    net.norm.running_mean.fill_(0.1)
    images = torch.rand(12, 3, 6, 6, generator=draw, dtype=torch.double)
    labels = torch.randint(3, (12,), generator=draw)
    return net, images, labels


def exact_hessian(net, images, labels, criterion=F.cross_entropy):
    """(P, P), column by column, by double autograd over all parameters."""
    twin = copy.deepcopy(net).eval()
    flat = nn.utils.parameters_to_vector(twin.parameters()).detach()
    names = [name for name, _ in twin.named_parameters()]
    shapes = [p.shape for p in twin.parameters()]

    def loss(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        weights = {
            name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)
        }
        return criterion(torch.func.functional_call(twin, weights, (images,)), labels)

    return torch.autograd.functional.hessian(loss, flat)


def on_product(function):
    """The function of a product, called with the network, the batch and the criterion of one."""

    def called(net, images, labels, criterion=F.cross_entropy, **settings):
        with hessian.hessian_product(net, images, labels, criterion) as product:
            return function(product, **settings)

    return called


top_eigenvectors = on_product(hessian.top_eigenvectors)
trace, density = on_product(hessian.trace), on_product(hessian.density)


@pytest.mark.parametrize("solver", ["pyhessian", "scipy"])
def test_the_eigenpairs_are_those_of_the_exact_hessian(case, solver):
    net, images, labels = case
    exact = exact_hessian(*case).numpy()
    operator = LinearOperator(exact.shape, matvec=lambda v: exact @ v, dtype=float)
    values, vectors = eigsh(operator, k=2, which="LM")
    order = np.argsort(-np.abs(values))
    found = top_eigenvectors(
        net, images, labels, solver=solver, tolerance=1e-8, generator=generator(0, "test")
    )
    assert np.allclose(found.values, values[order], rtol=1e-5)
    cosines = np.abs((found.vectors.numpy() * vectors.T[order]).sum(1))
    assert np.allclose(cosines, 1, atol=1e-4)
    assert (found.residuals < 1e-2).all()


def test_the_vectors_are_orthonormal_and_zero_where_the_loss_does_not_reach(case):
    net, images, labels = case
    pairs = top_eigenvectors(
        net, images, labels, count=3, tolerance=1e-3, generator=generator(0, "test")
    )
    gram = pairs.vectors @ pairs.vectors.T
    assert torch.allclose(gram, torch.eye(3, dtype=torch.double), atol=1e-10)
    names = [name for name, p in net.named_parameters() for _ in range(p.numel())]
    unused = torch.tensor([name.startswith("unused") for name in names])
    assert pairs.vectors.shape == (3, len(names))
    assert (pairs.vectors[:, unused] == 0).all()


def test_both_solvers_agree_with_pyhessian_where_it_is_right(case):
    net, images, labels = case
    with fork_global_rng(generator(0, "pyhessian")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*create_graph=True")
        twin = copy.deepcopy(net)
        del twin.unused  # pyhessian breaks on what the loss does not reach
        theirs = pyhessian.hessian(twin, F.cross_entropy, data=(images, labels), cuda=False)
        values, vectors = theirs.eigenvalues(tol=1e-4, top_n=2)
        twin.zero_grad(set_to_none=True)
    flat = [torch.cat([part.flatten() for part in parts]) for parts in vectors]
    reached = torch.cat(
        [torch.full((p.numel(),), "unused" not in name) for name, p in net.named_parameters()]
    )
    for solver in ("pyhessian", "scipy"):
        ours = top_eigenvectors(net, images, labels, solver=solver, generator=generator(0, "test"))
        assert np.allclose(ours.values, values, rtol=1e-3)
        for own, other in zip(ours.vectors[:, reached], flat, strict=True):
            assert abs(float(own @ other)) == pytest.approx(1, abs=1e-3)


def products(solver, case, **settings):
    """How often the Hessian is multiplied by a vector, and what comes of it."""
    with patch("torch.autograd.grad", wraps=torch.autograd.grad) as spy:
        pairs = top_eigenvectors(*case, solver=solver, generator=generator(0, "test"), **settings)
    return sum("grad_outputs" in call.kwargs for call in spy.call_args_list), pairs


def test_lanczos_needs_fewer_products_for_no_larger_error(case):
    exact = np.linalg.eigvalsh(exact_hessian(*case).numpy())
    exact = exact[np.argsort(-np.abs(exact))][:2]
    (few, lanczos), (many, power) = (products(name, case) for name in ("scipy", "pyhessian"))
    errors = [np.abs(pairs.values / exact - 1).max() for pairs in (lanczos, power)]
    assert few < many and errors[0] <= max(errors[1], 1e-4)


def quadratic_form(outputs, matrix):
    """Half of w'Aw, whose Hessian is A, where the images are all unit vectors."""
    weights = outputs.squeeze(1)
    return 0.5 * weights @ matrix @ weights


def designed(*top, tail=60, dtype=torch.double):
    """A case whose Hessian has these eigenvalues, and a tail of small ones."""
    draw = np.random.default_rng(0)
    values = np.concatenate([top, 0.05 * draw.uniform(-1, 1, tail)])
    basis = np.linalg.qr(draw.standard_normal((len(values),) * 2))[0]
    matrix = torch.from_numpy((basis * values) @ basis.T).to(dtype)
    net = nn.Linear(len(values), 1, bias=False).to(dtype)
    return net, torch.eye(len(values), dtype=dtype), (matrix + matrix.T) / 2


@pytest.mark.parametrize("dtype", [torch.double, torch.float])
@pytest.mark.parametrize("solver", ["pyhessian", "scipy"])
@pytest.mark.parametrize(
    "top",
    [
        (3, 3, 1, 0.9),  # double: one start sees one vector of it
        (3, 3, 3, 3, 1),
        (3, 2.9999, 1),
        (-3, 2, 1, 0.5),
        (2, -2, 1),
        (3, 2, -2, 1),  # power iteration stops between 2 and -2
        (1e4, 1, 0.9),
    ],
)
def test_designed_spectra(top, solver, dtype):
    case = designed(*top, dtype=dtype)
    _, pairs = products(solver, case, count=3, criterion=quadratic_form)
    assert np.allclose(np.abs(pairs.values), np.abs(top[:3]), rtol=1e-3)
    assert pairs.converged
    matrix = case[2].double().numpy()
    vectors = pairs.vectors.double().numpy()
    left = np.linalg.norm(vectors @ matrix - pairs.values[:, None] * vectors, axis=1)
    rounding = 1e-3 if dtype == torch.float else 1e-9
    assert np.allclose(left / np.abs(pairs.values), pairs.residuals, atol=rounding)


def test_what_power_iteration_leaves_mixed_is_solved_by_lanczos_and_said():
    """2 and -2 of the same size: the Rayleigh quotient settles between them."""
    net, images, matrix = designed(*[1.0, -1.0] * 30, tail=0)
    case = net, images, matrix
    with patch.dict(hessian.SOLVERS, {"scipy": hessian.SOLVERS["pyhessian"]}):
        _, mixed = products("pyhessian", case, count=3, criterion=quadratic_form)
    assert mixed.residuals.max() > 0.1 and not mixed.converged
    _, pairs = products("pyhessian", case, count=3, criterion=quadratic_form)
    assert pairs.converged and np.allclose(np.abs(pairs.values), 1)
    assert pairs.solver == "pyhessian, then scipy"


def test_pyhessian_does_the_power_iteration(case):
    with patch.object(
        pyhessian.hessian, "eigenvalues", autospec=True, side_effect=pyhessian.hessian.eigenvalues
    ) as spy:
        pairs = top_eigenvectors(*case, solver="pyhessian", generator=generator(0, "test"))
    assert spy.call_count == 1 and pairs.solver == "pyhessian"
    assert top_eigenvectors(*case, generator=generator(0, "test")).solver == "scipy"


def test_lanczos_that_does_not_converge_is_followed_by_power_iteration(case):
    with patch.object(hessian, "RESTARTS", 1):
        _, pairs = products("scipy", case, count=3, tolerance=1e-8)
    assert pairs.solver == "scipy, then pyhessian" and pairs.converged


@pytest.mark.parametrize("solver", ["pyhessian", "scipy"])
@pytest.mark.parametrize("top", [(3.0,), (3.0, -4.0), (3.0, 1.0, -2.0)])
def test_a_hessian_of_few_entries_is_solved_whole(top, solver):
    _, pairs = products(solver, designed(*top, tail=0), count=3, criterion=quadratic_form)
    assert pairs.values == pytest.approx(sorted(top, key=abs, reverse=True))
    assert pairs.vectors.shape == (len(top), len(top)) and pairs.solver == "dense"


def linear(outputs, targets):
    return (outputs.squeeze(1) * targets).mean()


@pytest.mark.parametrize("solver", ["pyhessian", "scipy"])
@pytest.mark.parametrize("criterion", [linear, quadratic_form])
def test_a_hessian_of_zeros_has_eigenvalues_of_zero(solver, criterion):
    net, images, matrix = designed(tail=20)
    labels = torch.zeros_like(matrix) if criterion is quadratic_form else matrix[0]
    case, draw = (net, images, labels), generator(0, "test")
    pairs = top_eigenvectors(*case, solver=solver, criterion=criterion, generator=draw)
    assert not pairs.values.any() and not pairs.residuals.any() and pairs.converged
    assert torch.allclose(pairs.vectors @ pairs.vectors.T, torch.eye(2, dtype=torch.double))
    probes = trace(*case, probes=2, known=pairs, criterion=criterion, generator=draw)
    assert not probes.any()
    found = density(*case, steps=3, criterion=criterion, generator=draw)
    assert found.weights.tolist() == [1, 0, 0] and not found.nodes.any()


def root(outputs, targets):
    """Finite with a finite gradient where an output is 0; its second derivative is not."""
    return (outputs.abs() ** 1.5).sum()


@pytest.mark.parametrize("solver", ["pyhessian", "scipy"])
def test_what_is_not_finite_ends_with_a_sentence(solver):
    net, images, matrix = designed(tail=20)
    draw = generator(0, "test")
    with pytest.raises(Missing, match="a finite loss, which is nan"):
        top_eigenvectors(
            net, images * np.nan, matrix, solver=solver, criterion=root, generator=draw
        )
    nn.init.zeros_(net.weight)
    with pytest.raises(Missing, match="a finite Hessian"):
        top_eigenvectors(net, images, matrix, solver=solver, criterion=root, generator=draw)


def test_a_loss_without_parameters_is_missing_them(case):
    with pytest.raises(Missing, match="a parameter that the loss depends on"):
        top_eigenvectors(nn.Flatten(), *case[1:], generator=generator(0, "test"))


def test_the_generator_decides_on_the_null_space_too():
    """Lanczos runs out of its space at once and goes on from a random vector."""
    case = designed(5.0, *[0.0] * 30, tail=0)
    first, again = (products("scipy", case, criterion=quadratic_form)[1] for _ in range(2))
    assert torch.equal(first.vectors, again.vectors)


def test_each_vector_has_a_positive_largest_entry(case):
    vectors = top_eigenvectors(*case, count=3, generator=generator(0, "test")).vectors
    assert (vectors.max(1).values == vectors.abs().max(1).values).all()


def test_a_loose_tolerance_costs_little_after_the_rayleigh_ritz_step(case):
    net, images, labels = case
    exact = np.linalg.eigvalsh(exact_hessian(*case).numpy())
    pairs = top_eigenvectors(net, images, labels, tolerance=1e-3, generator=generator(0, "test"))
    assert pairs.values[0] == pytest.approx(exact[np.abs(exact).argmax()], rel=1e-4)


def test_frozen_parameters_count(case):
    net, images, labels = case
    frozen = copy.deepcopy(net).requires_grad_(False)
    pairs = [
        top_eigenvectors(model, images, labels, generator=generator(0, "test"))
        for model in (net, frozen)
    ]
    assert np.array_equal(pairs[0].values, pairs[1].values)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_the_mean_of_many_probes_is_the_trace(case):
    net, images, labels = case
    exact = float(exact_hessian(*case).trace())
    probes = trace(net, images, labels, probes=300, generator=generator(0, "test"))
    error = probes.std(ddof=1) / np.sqrt(len(probes))
    assert abs(probes.mean() - exact) < 5 * error < abs(exact)


@pytest.mark.parametrize("seed", range(3))
def test_known_vectors_leave_the_trace_unbiased_and_the_spread_small(seed):
    """Any orthonormal vectors do.

    The signs are the rows of a Hadamard matrix, whose outer products have the identity as mean, so
    that the mean over them is exact.
    """
    case = designed(10.0, -6.0, 4.0, tail=13)
    hadamard = torch.from_numpy(scipy.linalg.hadamard(16).astype(float))
    vectors = torch.linalg.qr(
        torch.randn(16, 3, generator=torch_generator(generator(seed))).double()
    ).Q.T
    values = (vectors @ case[2] * vectors).sum(1).numpy()
    any_three = hessian.Eigenpairs(values, vectors, values, "none")
    _, top = products("scipy", case, count=3, criterion=quadratic_form)
    spread = []
    for known in (None, any_three, top):
        with patch.object(HessianProduct, "signs", lambda *_: iter(hadamard)):
            probes = trace(
                *case, probes=16, known=known, criterion=quadratic_form, generator=generator(0)
            )
        assert probes.mean() == pytest.approx(float(case[2].trace()), abs=1e-9)
        spread.append(probes.std())
    assert spread[2] < spread[0] / 10


def half_square(outputs, targets):
    return 0.5 * (outputs.squeeze(1) - targets).square().mean()


def mountain(outputs, targets):
    return -half_square(outputs, targets)


@pytest.fixture(scope="module")
def quadratic():
    """A linear model under a quadratic loss: the Hessian is X'X / N, whatever the weights."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(20, 5, generator=draw, dtype=torch.double)
    y = torch.randn(20, generator=draw, dtype=torch.double)
    return nn.Linear(5, 1, bias=False).double(), x, y, (x.T @ x / 20).numpy()


def test_a_negative_trace_is_not_cut_short(quadratic):
    """pyhessian's own stopping rule ends after two probes here, whatever their spread."""
    net, x, y, exact = quadratic
    probes = trace(net, x, y, probes=400, criterion=mountain, generator=generator(0, "test"))
    assert len(probes) == 400
    assert probes.mean() == pytest.approx(-np.trace(exact), rel=0.05)


def test_the_largest_in_magnitude_may_be_negative(quadratic):
    net, x, y, exact = quadratic
    pairs = top_eigenvectors(
        net, x, y, criterion=mountain, tolerance=1e-10, generator=generator(0, "test")
    )
    assert np.allclose(pairs.values, -np.sort(np.linalg.eigvalsh(exact))[::-1][:2], rtol=1e-6)


def test_lanczos_that_runs_to_its_end_finds_the_whole_spectrum(quadratic):
    net, x, y, exact = quadratic
    draw = generator(0, "test")
    for _ in range(3):
        nodes, weights = density(net, x, y, steps=8, criterion=half_square, generator=draw)
        assert nodes.shape == weights.shape == (8,) and np.isclose(weights.sum(), 1)
        assert np.allclose(np.sort(nodes[weights > 0]), np.linalg.eigvalsh(exact))


def test_a_short_lanczos_run_keeps_the_moments_of_its_start(case):
    """k steps integrate polynomials of degree 2k - 1 exactly: here v'Hv and v'H^3 v."""
    net, images, labels = case
    exact = exact_hessian(*case).numpy()
    found = density(net, images, labels, steps=4, generator=generator(0, "test"))
    reached = np.abs(exact).sum(0) > 0
    draw = torch_generator(generator(0, "test"))
    start = (torch.randint(2, (int(reached.sum()),), generator=draw) * 2 - 1).double().numpy()
    start /= np.linalg.norm(start)
    inner = exact[np.ix_(reached, reached)]
    for power in (1, 3):
        moment = start @ np.linalg.matrix_power(inner, power) @ start
        assert (found.weights * found.nodes**power).sum() == pytest.approx(moment, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_the_density_has_no_ghosts(dtype):
    """Without orthogonal vectors, a dominant eigenvalue comes back again and again."""
    case = designed(1e4, -50.0, dtype=dtype)
    found = density(*case, steps=40, criterion=quadratic_form, generator=generator(0, "test"))
    nodes = np.sort(found.nodes)
    assert nodes[-1] == pytest.approx(1e4, rel=1e-5) and nodes[-2] < 1
    assert nodes[0] == pytest.approx(-50, rel=1e-3) and nodes[1] > -1
    assert found.weights.sum() == pytest.approx(1, abs=1e-6)


def test_a_run_that_exhausts_its_space_ends_although_its_diagonal_is_zero():
    """Half of the eigenvalues are 2, half -2, and v'Hv is 0 for each unit vector: two steps."""
    pairs = torch.tensor([[0.0, 2], [2, 0]]).double()
    matrix = torch.block_diag(*[pairs] * 10)
    with patch.object(HessianProduct, "signs", lambda *_: iter([torch.eye(20).double()[0]])):
        found = density(
            nn.Linear(20, 1, bias=False).double(),
            torch.eye(20).double(),
            matrix,
            steps=5,
            criterion=quadratic_form,
            generator=generator(0, "test"),
        )
    assert np.allclose(found.nodes, [-2, 2, 0, 0, 0])
    assert np.allclose(found.weights, [0.5, 0.5, 0, 0, 0])


def test_a_smoothed_density_has_the_area_one():
    found = hessian.Density(np.array([0.0, 1.0, 2.0]), np.array([0.3, 0.6, 0.1]))
    at = np.linspace(-5, 10, 3001)
    assert np.trapezoid(hessian.gaussian_density(found, at, 0.2), at) == pytest.approx(1)


def test_the_model_and_the_global_generators_are_given_back(case):
    net, images, labels = copy.deepcopy(case[0]).train(), *case[1:]
    net.norm.eval()  # frozen by its owner
    net.conv.weight.grad = torch.ones_like(net.conv.weight)
    before = copy.deepcopy(net.state_dict())
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        top_eigenvectors(net, images, labels, generator=generator(0, "test"))
        trace(net, images, labels, probes=2, generator=generator(0, "test"))
    assert not raised
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert net.training and net.drop.training and not net.norm.training
    assert torch.equal(net.conv.weight.grad, torch.ones_like(net.conv.weight))
    assert net.head.weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_the_graph_is_freed_without_the_garbage_collector(case):
    net, images, labels = copy.deepcopy(case[0]), *case[1:]
    weights = []
    net.conv.register_forward_pre_hook(lambda conv, _: weights.append(weakref.ref(conv.weight)))
    gc.collect()
    gc.disable()
    try:
        trace(net, images, labels, probes=1, generator=generator(0, "test"))
        assert weights and all(weight() is None for weight in weights)
    finally:
        gc.enable()


def test_the_generator_decides(case):
    net, images, labels = case
    first, again, other = (
        trace(net, images, labels, probes=3, generator=generator(seed, "test"))
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


class Attention(nn.Module):
    """One head over the rows of an image, by torch's function or by hand."""

    def __init__(self, by_hand):
        super().__init__()
        self.by_hand, self.qkv, self.head = by_hand, nn.Linear(6, 12), nn.Linear(4, 3)

    def forward(self, x):
        query, key, value = self.qkv(x.mean(1)).split(4, dim=2)
        if self.by_hand:
            mixed = (query @ key.mT / 2).softmax(2) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.head(mixed.mean(1))


def test_attention_is_differentiated_twice(case):
    """The product of a vector with the Hessian, against attention that is written out."""
    _, images, labels = case
    with fork_global_rng(generator(0)):
        nets = Attention(False).double(), Attention(True).double()
    nets[1].load_state_dict(nets[0].state_dict())
    vector = torch.ones(6 * 12 + 12 + 4 * 3 + 3, dtype=torch.double).cumsum(0).sin()
    products = []
    for net in nets:
        with hessian.hessian_product(net, images, labels) as product:
            products.append(product(vector))
    torch.testing.assert_close(*products)
    assert products[0].abs().sum() > 0
    assert torch.backends.cuda.flash_sdp_enabled()  # as before
