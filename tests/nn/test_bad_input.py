"""Bad input, as a table: every error names the value, what was expected and the cure."""

import jax
import jax.numpy as jnp
import pytest

from sciml.nn import (
    FNO,
    Aggregation,
    ConvNet,
    Convolution,
    DeepONet,
    MessagePassing,
    Padding,
    SpectralConv,
    UNet,
    measure_displacements,
    nearest_neighbors,
)

KEY = jax.random.key(0)
SMALL = {
    "SpectralConv": lambda dims: SpectralConv(dims, 2, 1, modes=2, key=KEY),
    "FNO": lambda dims: FNO(dims, 2, 1, width=2, modes=2, depth=1, key=KEY),
    "Convolution": lambda dims: Convolution(dims, 2, 1, key=KEY),
    "ConvNet": lambda dims: ConvNet(dims, 2, 1, width=2, depth=1, key=KEY),
    "UNet": lambda dims: UNet(dims, 2, 1, width=2, levels=1, key=KEY),
}
FIELDS = [
    ((3, 8), r"shape \(3, 8\) with 3 channels; it was built for 2 channels, arrays \(2, n\)"),
    (
        (5, 2, 8),
        r"shape \(5, 2, 8\), which has one axis more than a field \(2, n\); .* jax.vmap\(model\)\(batch\)",
    ),
    ((8,), r"shape \(8,\); expected a field \(2, n\) with 1 space axes .* x\[None\]"),
]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "message"), FIELDS)
def test_a_field_of_a_wrong_shape_is_refused(name, shape, message):
    with pytest.raises(ValueError, match=f"{name} got an array of {message}"):
        SMALL[name](1)(jnp.zeros(shape))


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_is_taken_by_vmap(name):
    """What the message about a batch axis advises works."""
    batch = jnp.zeros((5, 2, 8))
    assert jax.vmap(SMALL[name](1))(batch).shape == (5, 1, 8)


GRIDS = [
    (
        SpectralConv(1, 1, 1, modes=6, key=KEY),
        (1, 10),
        "modes=6 on axis 0, but its 10 points .* modes <= 5, or use at least 11",
    ),
    (
        SpectralConv(2, 1, 1, modes=(2, 5), key=KEY),
        (1, 8, 8),
        "modes=5 on axis 1, but its 8 points .* at most 4 modes",
    ),
    (
        FNO(1, 1, 1, width=2, modes=9, key=KEY),
        (1, 16),
        "FNO keeps modes=9 on axis 0, but its 16 points .* at most 8",
    ),
    (
        FNO(1, 1, 1, width=2, modes=12, periodic=False, padding=0.25, key=KEY),
        (1, 16),
        "FNO keeps modes=12 on axis 0, but its 20 points",
    ),
    (
        UNet(1, 1, 1, width=2, levels=3, key=KEY),
        (1, 20),
        "levels=3 times, but axis 0 has 20 points, .* use 16 or 24 points",
    ),
    (
        UNet(2, 1, 1, width=2, levels=2, key=KEY),
        (1, 8, 3),
        "axis 1 has 3 points, .* use 4 points, or fewer levels",
    ),
]


@pytest.mark.parametrize(("model", "shape", "message"), GRIDS)
def test_a_grid_that_does_not_suit_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        model(jnp.zeros(shape))


def test_the_advised_numbers_of_points_are_taken():
    """What the messages advise works: at the bound for modes, and with padding counted in."""
    assert SpectralConv(1, 1, 1, modes=6, key=KEY)(jnp.ones((1, 11))).shape == (1, 11)
    assert SpectralConv(1, 1, 1, modes=5, key=KEY)(jnp.ones((1, 10))).shape == (1, 10)
    assert FNO(1, 1, 1, width=2, modes=10, periodic=False, key=KEY)(jnp.ones((1, 16))).shape == (1, 16)


CONSTRUCTORS = [
    (lambda: FNO(4, 1, 1, key=KEY), "FNO got num_spatial_dims=4; expected 1, 2 or 3"),
    (lambda: FNO(1, 0, 1, key=KEY), "FNO got in_channels=0; expected a positive integer"),
    (lambda: FNO(1, 1, 1, depth=0, key=KEY), "FNO got depth=0"),
    (lambda: FNO(1, 1, 1, width=2.5, key=KEY), "FNO got width=2.5"),
    (lambda: FNO(1, 1, 1, width=jnp.int32(2), key=KEY), r"FNO got width=.*\(a Python int\)"),
    (lambda: FNO(1, 1, 1, unroll=True, key=KEY), "FNO got unroll=True"),
    (lambda: FNO(2, 1, 1, modes=(4, 4, 4), key=KEY), r"modes=\(4, 4, 4\) with 3 entries for 2 axes"),
    (lambda: FNO(2, 1, 1, modes=(4, 0), key=KEY), r"modes\[1\]=0; expected a positive integer"),
    (lambda: FNO(2, 1, 1, periodic=[True], key=KEY), r"periodic=\[True\] with 1 entries for 2 axes"),
    (lambda: FNO(1, 1, 1, padding=8, key=KEY), "padding=8; expected a fraction of the axis"),
    (lambda: SpectralConv(0, 1, 1, modes=3, key=KEY), "SpectralConv got num_spatial_dims=0"),
    (lambda: Convolution(1, 1, 1, kernel_size=4, key=KEY), "kernel_size=4; expected an odd number"),
    (
        lambda: Convolution(1, 1, 1, padding="periodic", key=KEY),
        "padding='periodic'.*expected Padding.PERIODIC",
    ),
    (lambda: ConvNet(2, 1, 1, padding=[Padding.ZEROS], key=KEY), "with 1 entries for 2 axes"),
    (lambda: UNet(2, 1, 1, levels=0, key=KEY), "UNet got levels=0"),
    (lambda: UNet(5, 1, 1, key=KEY), "UNet got num_spatial_dims=5"),
    (lambda: DeepONet(16, 1, 1, key=KEY), r"sensors=16; expected the shape \(channel, \*sensor\)"),
    (lambda: DeepONet((1, 0), 1, 1, key=KEY), r"sensors\[1\]=0"),
    (lambda: DeepONet((1, 4), 1, 1, periods=-1.0, key=KEY), "periods=-1.0; expected a positive length"),
    (lambda: DeepONet((1, 4), 2, 1, periods=(1.0,), key=KEY), "with 1 entries for 2 axes"),
    (lambda: MessagePassing(1, 0, 1, key=KEY), "MessagePassing got edge_features=0"),
    (
        lambda: MessagePassing(1, 1, 1, aggregation="mean", key=KEY),
        "aggregation='mean'; expected Aggregation.SUM",
    ),
]


@pytest.mark.parametrize(("build", "message"), CONSTRUCTORS)
def test_a_network_that_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


OPERATOR = [
    ((1, 5), (3, 2), r"shape \(1, 5\); it was built for \(1, 4\); pass the values at the same sensors"),
    ((7, 1, 4), (3, 2), r"shape \(7, 1, 4\); .* jax.vmap\(model\)\(batch, points\)"),
    ((1, 4), (3, 1), r"points of shape \(3, 1\); expected \(point, 2\)"),
    ((1, 4), (2,), r"points of shape \(2,\); .* points\[None\]"),
]


@pytest.mark.parametrize(("values", "points", "message"), OPERATOR)
def test_values_or_points_of_a_wrong_shape_are_refused(values, points, message):
    model = DeepONet((1, 4), 2, 1, width=2, depth=1, key=KEY)
    with pytest.raises(ValueError, match=message):
        model(jnp.zeros(values), jnp.zeros(points))


GRAPHS = [
    ((6, 3), (4,), (4,), (4, 1), r"nodes of shape \(6, 3\); it was built for \(node, 2\)"),
    ((5, 6, 2), (4,), (4,), (4, 1), r"nodes of shape \(5, 6, 2\).*jax.vmap"),
    (
        (6, 2),
        (4,),
        (3,),
        (4, 1),
        r"senders of shape \(4,\) and receivers of shape \(3,\); expected \(edge,\)",
    ),
    ((6, 2), (6, 4), (6, 4), (6, 4, 1), r"receivers of shape \(6, 4\); .* receivers=None"),
    ((6, 2), (4,), None, (4, 1), r"senders of shape \(4,\) without receivers; expected \(6, neighbor\)"),
    ((6, 2), (5, 4), None, (5, 4, 1), r"senders of shape \(5, 4\) without receivers"),
    ((6, 2), (4,), (4,), (4, 2), r"edges of shape \(4, 2\); expected \(4, 1\)"),
    ((6, 2), (6, 4), None, (24, 1), r"edges of shape \(24, 1\); expected \(6, 4, 1\)"),
]


@pytest.mark.parametrize(("nodes", "senders", "receivers", "edges", "message"), GRAPHS)
def test_a_graph_of_a_wrong_shape_is_refused(nodes, senders, receivers, edges, message):
    model = MessagePassing(2, 1, 1, width=2, depth=1, aggregation=Aggregation.SUM, key=KEY)
    receivers = None if receivers is None else jnp.zeros(receivers, int)
    with pytest.raises(ValueError, match=message):
        model(jnp.zeros(nodes), jnp.zeros(senders, int), receivers, jnp.zeros(edges))


def test_indices_that_are_not_integers_are_refused():
    model = MessagePassing(2, 1, 1, width=2, depth=1, key=KEY)
    with pytest.raises(ValueError, match="senders of type float64; expected integers"):
        model(jnp.zeros((3, 2)), jnp.zeros(4), jnp.zeros(4, int), jnp.zeros((4, 1)))


NEIGHBORS = [
    (
        lambda: nearest_neighbors(jnp.zeros((5, 2)), 5),
        "k=5 for 5 points; every point has only 4 others. Ask for k <= 4",
    ),
    (lambda: nearest_neighbors(jnp.zeros((5, 2)), 0), "nearest_neighbors got k=0"),
    (lambda: nearest_neighbors(jnp.zeros((5, 2)), 2, chunk=0), "nearest_neighbors got chunk=0"),
    (
        lambda: nearest_neighbors(jnp.zeros(5), 2),
        r"points of shape \(5,\); expected \(point, dim\).*points\[:, None\]",
    ),
    (lambda: nearest_neighbors(jnp.zeros((3, 5, 2)), 2), r"points of shape \(3, 5, 2\).*jax.vmap"),
    (
        lambda: nearest_neighbors(jnp.zeros((5, 2)), 2, periods=(1.0, 0.0)),
        r"periods=\(1.0, 0.0\); expected a positive",
    ),
    (lambda: nearest_neighbors(jnp.zeros((5, 2)), 2, periods=(1.0,)), "with 1 entries for 2 axes"),
    (
        lambda: measure_displacements(jnp.zeros(5), jnp.zeros((5, 2), int)),
        r"measure_displacements got points of shape \(5,\)",
    ),
]


@pytest.mark.parametrize(("call", "message"), NEIGHBORS)
def test_points_that_make_no_graph_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
